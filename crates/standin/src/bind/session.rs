//! Functions whose answer is the session's, the server's, or the catalog's; and those of change data capture.

use sqlparser::ast::Expr;

use super::call::{unknown, wrong_count};
use super::{Binder, Scope, Typed};
use crate::engine::catalog::same;
use crate::sql::convert::from_ticks;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

pub(super) type Answer = (Value, SqlType);

fn text(text: impl Into<String>) -> Answer {
    (Value::Text(text.into()), SqlType::NAME)
}

fn int(number: i64) -> Answer {
    (Value::Int(number), SqlType::Int)
}

impl Binder<'_> {
    /// Functions without parentheses.
    pub(super) fn niladic(&mut self, name: &str) -> Option<Result<Typed, SqlError>> {
        let name = name.to_lowercase();
        match name.as_str() {
            "current_timestamp" | "current_user" | "session_user" | "system_user" | "user" => {
                let answer = self.session_function(&name, &[]).transpose()?;
                Some(answer.map(|(value, of)| self.constant(value, of)))
            }
            _ => None,
        }
    }

    /// `@@VERSION` and its kin.
    pub(super) fn global(&self, name: &str) -> Result<Answer, SqlError> {
        let facts = self.facts;
        Ok(match name.to_lowercase().as_str() {
            "@@version" => (Value::Text(facts.server.version_text()), SqlType::nvarchar(300)),
            "@@servername" => text(&facts.server.name),
            "@@spid" => (Value::Int(facts.spid), SqlType::SmallInt),
            "@@trancount" => int(facts.tran_count),
            "@@rowcount" => int(facts.row_count),
            "@@error" => int(facts.last_error),
            "@@lock_timeout" => int(facts.lock_timeout),
            "@@identity" => (
                facts.identity.map_or(Value::Null, |last| Value::Decimal(i128::from(last))),
                SqlType::Decimal { precision: 38, scale: 0 },
            ),
            "@@datefirst" => (Value::Int(7), SqlType::TinyInt),
            "@@language" => text("us_english"),
            "@@max_precision" => (Value::Int(38), SqlType::TinyInt),
            "@@microsoftversion" => int(0x1000_0000),
            _ => {
                let message = format!("Must declare the scalar variable \"{name}\".");
                return Err(SqlError::new(137, 15, 2, message));
            }
        })
    }

    /// Functions that no row has a part in; `None` when there is none of that name.
    pub(super) fn session_function(&self, name: &str, args: &[Typed]) -> Result<Option<Answer>, SqlError> {
        let facts = self.facts;
        let local = facts.server.zone.local(facts.now);
        let moment =
            |of: SqlType, ticks: i64| -> Result<Answer, SqlError> { Ok((from_ticks(ticks, None, of)?, of)) };
        let argument = |at: usize| -> Option<&Value> { args.get(at).and_then(|arg| arg.constant.as_ref()) };
        let string = |at: usize| argument(at).and_then(Value::as_text).unwrap_or_default().to_owned();
        let answer = match (name, args.len()) {
            ("getdate" | "current_timestamp", 0) => moment(SqlType::DateTime, local)?,
            ("getutcdate", 0) => moment(SqlType::DateTime, facts.now)?,
            ("sysdatetime", 0) => moment(SqlType::DateTime2(7), local)?,
            ("sysutcdatetime", 0) => moment(SqlType::DateTime2(7), facts.now)?,
            ("sysdatetimeoffset", 0) => {
                let minutes = facts.server.zone.minutes_ahead(facts.now);
                (Value::Offset { utc: facts.now, minutes }, SqlType::DateTimeOffset(7))
            }
            ("current_timezone", 0) => (Value::Text(facts.server.zone.title()), SqlType::varchar(128)),
            ("current_timezone_id", 0) => (Value::Text(facts.server.zone.id()), SqlType::varchar(128)),
            ("db_name", 0) => text(&facts.database.name),
            ("db_name", 1) => match argument(0) {
                Some(Value::Int(id)) => match facts.server.databases().iter().find(|one| one.id == *id) {
                    Some(database) => text(&database.name),
                    None => (Value::Null, SqlType::NAME),
                },
                _ => return Ok(None),
            },
            ("db_id", 0) => (Value::Int(facts.database.id), SqlType::SmallInt),
            ("db_id", 1) => {
                let found = facts.server.databases().into_iter().find(|one| same(&one.name, &string(0)));
                (found.map_or(Value::Null, |one| Value::Int(one.id)), SqlType::SmallInt)
            }
            ("suser_sname" | "suser_name" | "original_login" | "system_user", 0) => text(facts.login),
            ("user_name" | "current_user" | "session_user" | "user", 0) => text(&facts.principal.user),
            ("context_info", 0) => (
                facts.context.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec())),
                SqlType::varbinary(128),
            ),
            ("host_name", 0) => text("localhost"),
            ("app_name", 0) => text("stand-in client"),
            ("xact_state", 0) => (Value::Int(i64::from(facts.tran_count > 0)), SqlType::SmallInt),
            ("scope_identity", 0) => self.global("@@identity")?,
            (
                "is_member" | "is_rolemember" | "is_srvrolemember" | "has_perms_by_name" | "serverproperty"
                | "databasepropertyex",
                _,
            ) => return self.property(name, args),
            _ => return self.of_names(name, args),
        };
        Ok(Some(answer))
    }

    /// Functions that ask for rights, roles and properties.
    fn property(&self, name: &str, args: &[Typed]) -> Result<Option<Answer>, SqlError> {
        let facts = self.facts;
        let string = |at: usize| {
            args.get(at).and_then(|arg| arg.constant.as_ref()).and_then(Value::as_text).map(str::to_owned)
        };
        let truth = |truth: bool| Some(int(i64::from(truth)));
        let null = || Some((Value::Null, SqlType::Int));
        let Some(first) = string(0).or_else(|| (name == "has_perms_by_name").then(String::new)) else {
            return Ok(null());
        };
        Ok(match name {
            "is_srvrolemember" => match first.to_lowercase().as_str() {
                "sysadmin" => truth(facts.principal.sysadmin),
                "serveradmin" | "securityadmin" | "processadmin" | "dbcreator" | "public" => {
                    truth(facts.principal.sysadmin || same(&first, "public"))
                }
                _ => null(),
            },
            "is_member" | "is_rolemember" => {
                if self.catalog.roles.iter().any(|role| same(&role.name, &first)) {
                    let owner = same(&first, "db_owner") && facts.principal.owner(&self.catalog);
                    truth(owner || facts.principal.in_role(&self.catalog, &first))
                } else {
                    null()
                }
            }
            "has_perms_by_name" => {
                let (class, right) =
                    (string(1).unwrap_or_default(), string(2).unwrap_or_default().to_uppercase());
                match class.to_uppercase().as_str() {
                    "" | "SERVER" => truth(facts.may_server(&right)),
                    "DATABASE" => truth(facts.principal.may_database(&self.catalog, &right)),
                    "OBJECT" => self.object_right(&first, &right, string(3)),
                    "SCHEMA" => {
                        let schema = first.replace(['[', ']'], "");
                        truth(facts.principal.may(&self.catalog, &right, &schema, ""))
                    }
                    _ => null(),
                }
            }
            "serverproperty" => Some((facts.server.property(&first), SqlType::Variant)),
            _ => {
                let known = match first.to_lowercase().as_str() {
                    found if found == facts.database.name.to_lowercase() => string(1),
                    _ => None,
                };
                let value = match known.unwrap_or_default().to_lowercase().as_str() {
                    "status" => Value::from("ONLINE"),
                    "updateability" => Value::from("READ_WRITE"),
                    "recovery" => Value::from("FULL"),
                    "collation" => Value::from("SQL_Latin1_General_CP1_CI_AS"),
                    _ => Value::Null,
                };
                Some((value, SqlType::Variant))
            }
        })
    }

    fn object_right(&self, object: &str, right: &str, column: Option<String>) -> Option<Answer> {
        let (schema, name) = super::names::schema_and_name(object);
        let (schema, name) = (schema.as_str(), name.as_str());
        if let Some(instance) = name.strip_prefix("fn_cdc_get_all_changes_") {
            let instance = self.catalog.instance(instance)?;
            return Some(int(i64::from(crate::cdc::rows::may_read(self.facts, &self.catalog, instance))));
        }
        let Some(table) = self.catalog.table(schema, name) else { return Some((Value::Null, SqlType::Int)) };
        let may = self.facts.principal.may_column(
            &self.catalog,
            right,
            (table.schema.as_str(), table.name.as_str()),
            column.as_deref(),
        );
        Some(int(i64::from(may)))
    }

    /// Functions that are called with their schema.
    pub(super) fn qualified(
        &mut self,
        schema: &str,
        name: &str,
        args: &[&Expr],
        scope: &Scope<'_>,
    ) -> Result<Typed, SqlError> {
        if !same(schema, "sys") {
            return Err(SqlError::new(
                4121,
                16,
                1,
                format!(
                    "Cannot find either column \"{schema}\" or the user-defined function or aggregate \"{schema}.{name}\", or the name is ambiguous."
                ),
            ));
        }
        let mut values = Vec::new();
        for arg in args {
            values.push(self.value(arg, scope)?);
        }
        match (name, values.as_slice()) {
            ("fn_varbintohexstr", [bytes]) => {
                let sql = format!(
                    "lower(ts_cast({}, {}, {}, 1))",
                    bytes.sql,
                    bytes.of.code(),
                    SqlType::nvarchar(4000).code()
                );
                Ok(Typed::new(sql, SqlType::nvarchar(4000)))
            }
            ("fn_cdc_is_bit_set", [ordinal, mask]) => {
                Ok(Typed::new(format!("ts_bit({}, {})", ordinal.sql, mask.sql), SqlType::Bit))
            }
            ("fn_cdc_increment_lsn" | "fn_cdc_decrement_lsn", [lsn]) => {
                let up = u8::from(name == "fn_cdc_increment_lsn");
                let lsn = self.cast(lsn.clone(), SqlType::LSN, 0)?;
                Ok(Typed::new(format!("ts_lsn_step({}, {up})", lsn.sql), SqlType::LSN))
            }
            _ if name.starts_with("fn_cdc_") => self.captured(name, values),
            _ => Err(unknown(name)),
        }
    }

    /// The functions that look into the tables of change data capture.
    ///
    /// <https://learn.microsoft.com/en-us/sql/relational-databases/system-functions/change-data-capture-functions-transact-sql>
    fn captured(&mut self, name: &str, values: Vec<Typed>) -> Result<Typed, SqlError> {
        let table = |binder: &Self, name: &str| -> Result<String, SqlError> {
            binder.catalog.table("cdc", name).map(|table| table.stored()).ok_or_else(|| {
                let message = format!(
                    "The database '{}' is not enabled for Change Data Capture.",
                    binder.facts.database.name
                );
                SqlError::new(22_901, 16, 1, message)
            })
        };
        // Columns of the tables, by their numbers: see the module that makes them.
        match (name, values.as_slice()) {
            ("fn_cdc_get_max_lsn", []) => {
                let Ok(times) = table(self, "lsn_time_mapping") else {
                    return Ok(self.constant(Value::Null, SqlType::LSN));
                };
                Ok(Typed::new(
                    format!("(SELECT max(c1) FROM {times} WHERE vis(_xmin, _xmax, 0))"),
                    SqlType::LSN,
                ))
            }
            ("fn_cdc_get_min_lsn", [instance]) => {
                let Ok(changes) = table(self, "change_tables") else {
                    return Ok(self.constant(Value::Bytes(vec![0; 10]), SqlType::LSN));
                };
                let allowed: Vec<String> = self
                    .catalog
                    .instances
                    .iter()
                    .filter(|instance| crate::cdc::rows::may_read(self.facts, &self.catalog, instance))
                    .map(|instance| instance.change_table.to_string())
                    .collect();
                let sql = format!(
                    "coalesce((SELECT coalesce(c5, zeroblob(10)) FROM {changes} WHERE vis(_xmin, _xmax, 0) AND c4 = {} COLLATE MSCI AND c1 IN ({})), zeroblob(10))",
                    instance.sql,
                    allowed.join(", ")
                );
                Ok(Typed::new(sql, SqlType::LSN))
            }
            ("fn_cdc_map_lsn_to_time", [lsn]) => {
                let times = table(self, "lsn_time_mapping")?;
                let sql = format!("(SELECT c3 FROM {times} WHERE c1 = {} AND vis(_xmin, _xmax, 0))", lsn.sql);
                Ok(Typed::new(sql, SqlType::DateTime))
            }
            ("fn_cdc_map_time_to_lsn", [operator, _]) => {
                let times = table(self, "lsn_time_mapping")?;
                let (end, comparison) = match operator.constant.as_ref().and_then(Value::as_text) {
                    Some("largest less than") => ("max", "<"),
                    Some("largest less than or equal") => ("max", "<="),
                    Some("smallest greater than") => ("min", ">"),
                    Some("smallest greater than or equal") => ("min", ">="),
                    _ => return Ok(self.constant(Value::Null, SqlType::LSN)),
                };
                let Some(time) = values.into_iter().nth(1) else { return Err(wrong_count(name)) };
                let time = self.cast(time, SqlType::DateTime, 0)?;
                let sql = format!(
                    "(SELECT {end}(c1) FROM {times} WHERE c3 {comparison} {} AND vis(_xmin, _xmax, 0))",
                    time.sql
                );
                Ok(Typed::new(sql, SqlType::LSN))
            }
            ("fn_cdc_get_column_ordinal", [instance, column]) => Ok(self.ordinal(instance, column)?),
            ("fn_cdc_has_column_changed", [instance, column, mask]) => {
                let ordinal = self.ordinal(instance, column)?;
                Ok(Typed::new(format!("ts_bit({}, {})", ordinal.sql, mask.sql), SqlType::Bit))
            }
            _ => Err(unknown(name)),
        }
    }

    fn ordinal(&mut self, instance: &Typed, column: &Typed) -> Result<Typed, SqlError> {
        let pair =
            (self.catalog.table("cdc", "captured_columns"), self.catalog.table("cdc", "change_tables"));
        let (Some(columns), Some(changes)) = pair else {
            return Ok(self.constant(Value::Null, SqlType::Int));
        };
        let sql = format!(
            "(SELECT o.c5 FROM {} o JOIN {} i ON i.c1 = o.c1 WHERE i.c4 = {} COLLATE MSCI AND o.c2 = {} COLLATE MSCI AND vis(o._xmin, o._xmax, 0) AND vis(i._xmin, i._xmax, 0))",
            columns.stored(),
            changes.stored(),
            instance.sql,
            column.sql
        );
        Ok(Typed::new(sql, SqlType::Int))
    }
}
