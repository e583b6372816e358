//! Procedures of the system.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/change-data-capture-stored-procedures-transact-sql>

use sqlparser::ast::Expr;

use super::{Session, Stop};
use crate::cdc::cleanup::Cleanup;
use crate::cdc::enable::{self, Wanted};
use crate::engine::catalog::same;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;
use crate::tds::request::Parameter;

type Argument = (Option<String>, SqlType, Value);

/// The arguments of a call, found by name or place.
struct Arguments(Vec<Argument>);

impl Arguments {
    fn find(&self, at: usize, name: &str) -> Option<&Value> {
        let by_name =
            self.0.iter().find(|(given, _, _)| given.as_deref().is_some_and(|given| same(given, name)));
        let by_place = self.0.get(at).filter(|(given, _, _)| given.is_none());
        by_name.or(by_place).map(|(_, _, value)| value)
    }

    fn text(&self, at: usize, name: &str) -> Option<String> {
        self.find(at, name).and_then(Value::as_text).map(str::to_owned)
    }

    fn number(&self, at: usize, name: &str) -> Option<i64> {
        self.find(at, name).and_then(Value::as_int)
    }

    /// # Errors
    /// 201 when it is not there.
    fn wanted(&self, at: usize, name: &str, procedure: &str) -> Result<String, SqlError> {
        self.text(at, name).ok_or_else(|| {
            let message = format!(
                "Procedure or function '{procedure}' expects parameter '{name}', which was not supplied."
            );
            SqlError::new(201, 16, 4, message)
        })
    }
}

impl Session {
    /// A call: `sp_executesql`, or another procedure.
    pub(super) fn run_call(&mut self, procedure: &str, parameters: Vec<Parameter>) -> Result<(), Stop> {
        let name = procedure.replace(['[', ']'], "");
        if !same(&name, "sp_executesql") && !name.to_lowercase().ends_with(".sp_executesql") {
            let args = parameters
                .into_iter()
                .map(|one| (Some(one.name).filter(|name| !name.is_empty()), one.of, one.value));
            return self.call_procedure(&name, args.collect());
        }
        let mut parameters = parameters.into_iter();
        let text = match parameters.next().map(|one| one.value) {
            Some(Value::Text(text)) => text,
            _ => {
                let message = "Procedure expects parameter '@statement' of type 'ntext/nchar/nvarchar'.";
                return self.fail(&SqlError::new(214, 16, 2, message));
            }
        };
        let declared = match parameters.next().map(|one| one.value) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        };
        let values = parameters.map(|one| (one.name, one.of, one.value)).collect();
        self.execute_with(&text, &declared, values)
    }

    /// `EXEC procedure …`
    pub(super) fn execute(
        &mut self,
        procedure: &[String],
        arguments: &[(Option<String>, Expr)],
    ) -> Result<(), Stop> {
        let mut given = Vec::new();
        for (name, value) in arguments {
            // A word that is no expression is a text, such as a name after EXEC.
            match self.evaluate(value) {
                Ok((of, value)) => given.push((name.clone(), of, value)),
                Err(error) if error.number == 207 => {
                    given.push((name.clone(), SqlType::NAME, Value::Text(value.to_string())));
                }
                Err(error) => return self.fail(&error),
            }
        }
        if procedure.last().is_some_and(|name| same(name, "sp_executesql")) {
            let mut given = given.into_iter();
            let text = |argument: Option<Argument>| match argument {
                Some((_, _, Value::Text(text))) => text,
                _ => String::new(),
            };
            let (statement, declared) = (text(given.next()), text(given.next()));
            let values = given.map(|(name, of, value)| (name.unwrap_or_default(), of, value)).collect();
            return self.execute_with(&statement, &declared, values);
        }
        self.call_procedure(&procedure.join("."), given)
    }

    pub(super) fn call_procedure(&mut self, name: &str, arguments: Vec<Argument>) -> Result<(), Stop> {
        let lower = name.to_lowercase();
        let short = lower.rsplit('.').next().unwrap_or(&lower).to_owned();
        let arguments = Arguments(arguments);
        let outcome = match short.as_str() {
            "sp_cdc_help_jobs" => return self.run_text(HELP_JOBS),
            "sp_cdc_help_change_data_capture" => return self.run_text(&help(&arguments)),
            _ => self.run_procedure(&short, &arguments).map_err(|error| error.in_procedure(&short)),
        };
        match outcome {
            Ok(()) => {
                self.end_result(0, 0);
                Ok(())
            }
            Err(error) => self.fail(&error),
        }
    }

    fn run_procedure(&mut self, name: &str, arguments: &Arguments) -> Result<(), SqlError> {
        match name {
            "sp_cdc_enable_db" | "sp_cdc_disable_db" => {
                if !self.sysadmin {
                    let message =
                        "Only members of the sysadmin fixed server role can perform this operation.";
                    return Err(SqlError::new(22_902, 16, 1, message));
                }
                if self.server.options.edition.contains("Express") {
                    let message = format!(
                        "This instance of SQL Server is the {}. Change data capture is only available in the Enterprise, Developer, Enterprise Evaluation, and Standard editions.",
                        self.server.options.edition
                    );
                    return Err(SqlError::new(22_988, 16, 1, message));
                }
                let now = self.server.local_now();
                let on = name == "sp_cdc_enable_db";
                self.define(|session, _| {
                    if on {
                        enable::database(&session.database, &session.connection, now)
                    } else {
                        enable::disable_database(&session.database, &session.connection)
                    }
                })
            }
            "sp_cdc_enable_table" => self.enable_table(arguments),
            "sp_cdc_disable_table" => {
                self.owner_only()?;
                let schema = arguments.wanted(0, "@source_schema", name)?;
                let table = arguments.wanted(1, "@source_name", name)?;
                let instance = arguments.wanted(2, "@capture_instance", name)?;
                self.define(|session, tran| {
                    let names = (schema.as_str(), table.as_str(), instance.as_str());
                    enable::disable_table(&session.database, &session.connection, names, tran.id)
                })
            }
            "sp_cdc_cleanup_change_table" => self.clean(arguments),
            "sp_cdc_change_job" => self.change_job(arguments),
            "sp_cdc_add_job" | "sp_cdc_drop_job" => self.job(arguments, name == "sp_cdc_add_job"),
            "sp_cdc_scan" => {
                self.owner_only()?;
                crate::cdc::capture::scan(&self.server, &self.database, 0).map(|_| ())
            }
            "sp_addrolemember" => {
                let role = arguments.wanted(0, "@rolename", name)?;
                let member = arguments.wanted(1, "@membername", name)?;
                let words = ["ALTER", "ROLE", &role, "ADD", "MEMBER", &member].map(str::to_owned);
                self.run_rights(&words)
            }
            _ => Err(SqlError::new(2812, 16, 62, format!("Could not find stored procedure '{name}'."))),
        }
    }

    fn owner_only(&self) -> Result<(), SqlError> {
        if self.principal.owner(&self.database.catalog()) {
            return Ok(());
        }
        let message = "Only members of the sysadmin or db_owner roles can perform this operation when Change Data Capture is enabled for a database.";
        Err(SqlError::new(22_904, 16, 1, message))
    }

    fn enable_table(&mut self, arguments: &Arguments) -> Result<(), SqlError> {
        const NAME: &str = "sp_cdc_enable_table";
        self.owner_only()?;
        if arguments.find(3, "@role_name").is_none() {
            let message = "Procedure or function 'sp_cdc_enable_table' expects parameter '@role_name', which was not supplied.";
            return Err(SqlError::new(201, 16, 4, message));
        }
        let wanted = Wanted {
            schema: arguments.wanted(0, "@source_schema", NAME)?,
            table: arguments.wanted(1, "@source_name", NAME)?,
            instance: arguments.text(2, "@capture_instance"),
            net_changes: arguments.number(4, "@supports_net_changes").map(|number| number != 0),
            role: arguments.text(3, "@role_name"),
            index: arguments.text(5, "@index_name"),
            columns: arguments.text(6, "@captured_column_list"),
            without_commands: self.server.options.without_command_ids,
        };
        if wanted.role.as_deref() == Some("") {
            let message = "Could not create a capture instance because the role name is empty. Specify NULL or a name for @role_name.";
            return Err(SqlError::new(22_907, 16, 1, message));
        }
        let now = self.server.local_now();
        self.define(|session, tran| {
            enable::table(&session.database, &session.connection, &wanted, (tran.id, now))
        })
    }

    fn clean(&mut self, arguments: &Arguments) -> Result<(), SqlError> {
        self.owner_only()?;
        let name = arguments.wanted(0, "@capture_instance", "sp_cdc_cleanup_change_table")?;
        let catalog = self.database.catalog();
        let instance = catalog.instance(&name).ok_or_else(|| {
            let message = format!(
                "The named capture instance {name} does not exist for database '{}'.",
                self.database.name
            );
            SqlError::new(22_920, 16, 1, message)
        })?;
        let clean = Cleanup::new(&self.database)?;
        if let Some(Value::Bytes(low)) = arguments.find(1, "@low_water_mark") {
            let times = catalog.table("cdc", "lsn_time_mapping").map(crate::engine::catalog::Table::stored);
            let known = times.map_or(Ok(false), |times| {
                let sql = format!("SELECT count(*) FROM {times} WHERE c1 = ?1 AND _xmax = 0");
                self.connection.query_row(&sql, [low], |row| row.get::<_, i64>(0)).map(|count| count > 0)
            })?;
            if !known {
                let digits = crate::sql::format::hex(low);
                let message = format!(
                    "LSN 0x{digits}, specified as the new low end point for the change table of capture instance '{name}', is not within the Change Data Capture timeline [see cdc.lsn_time_mapping]."
                );
                return Err(SqlError::new(22_964, 16, 1, message));
            }
            clean.move_low_end(Some(instance), low)?;
        }
        clean.delete(arguments.number(2, "@threshold").unwrap_or(5000))
    }

    fn change_job(&mut self, arguments: &Arguments) -> Result<(), SqlError> {
        self.owner_only()?;
        let kind = arguments.text(0, "@job_type").unwrap_or_else(|| "capture".to_owned());
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                let value = |at: usize, name: &str, old: i64| arguments.number(at, name).unwrap_or(old);
                match (&mut catalog.jobs.capture, &mut catalog.jobs.cleanup) {
                    (Some(capture), _) if same(&kind, "capture") => {
                        capture.0 = value(1, "@maxtrans", capture.0);
                        capture.1 = value(2, "@maxscans", capture.1);
                        capture.2 = value(3, "@continuous", i64::from(capture.2)) != 0;
                        capture.3 = value(4, "@pollinginterval", capture.3);
                        Ok(())
                    }
                    (_, Some(cleanup)) if same(&kind, "cleanup") => {
                        cleanup.0 = value(5, "@retention", cleanup.0);
                        cleanup.1 = value(6, "@threshold", cleanup.1);
                        Ok(())
                    }
                    _ => Err(SqlError::new(22_866, 16, 1, format!("There is no job of the type '{kind}'."))),
                }
            })
        })
    }

    fn job(&mut self, arguments: &Arguments, add: bool) -> Result<(), SqlError> {
        self.owner_only()?;
        let kind = arguments.wanted(0, "@job_type", "sp_cdc_add_job")?;
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                match kind.to_lowercase().as_str() {
                    "capture" => catalog.jobs.capture = add.then_some((500, 10, true, 5)),
                    "cleanup" => catalog.jobs.cleanup = add.then_some((4320, 5000)),
                    other => {
                        return Err(SqlError::new(
                            22_866,
                            16,
                            1,
                            format!("There is no job of the type '{other}'."),
                        ));
                    }
                }
                Ok(())
            })
        })
    }
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-help-jobs-transact-sql>
const HELP_JOBS: &str = "SELECT job_id, job_type, N'cdc.' + DB_NAME() + N'_' + job_type AS job_name, maxtrans, maxscans, continuous, \
    pollinginterval, retention, threshold FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID()";

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-help-change-data-capture-transact-sql>
fn help(arguments: &Arguments) -> String {
    let quoted = |text: String| text.replace('\'', "''");
    let mut sql = "SELECT s.name AS source_schema, t.name AS source_table, c.capture_instance, c.object_id, c.source_object_id, \
        c.start_lsn, c.end_lsn, c.supports_net_changes, c.has_drop_pending, c.role_name, c.index_name, c.filegroup_name, c.create_date \
        FROM cdc.change_tables AS c JOIN sys.tables AS t ON t.object_id = c.source_object_id \
        JOIN sys.schemas AS s ON s.schema_id = t.schema_id"
        .to_owned();
    if let (Some(schema), Some(table)) =
        (arguments.text(0, "@source_schema"), arguments.text(1, "@source_name"))
    {
        sql.push_str(&format!(" WHERE s.name = N'{}' AND t.name = N'{}'", quoted(schema), quoted(table)));
    }
    sql
}
