//! CREATE, ALTER and DROP of tables, indexes, schemas and databases.

use super::Session;
use super::statement::{NewColumn, NewKey, Stmt};
use super::transaction::Tran;
use crate::cdc::{enable, tables};
use crate::engine::catalog::{Catalog, Column, Index, Table, same};
use crate::sql::error::SqlError;

impl Session {
    pub(super) fn run_definition(&mut self, stmt: &Stmt, text: &str) -> Result<(), SqlError> {
        match stmt {
            Stmt::CreateTable { name, columns, keys } => {
                let table = (self.placed(name)?, columns.as_slice(), keys.as_slice());
                self.may_define("CREATE TABLE")?;
                self.define(|session, _| session.create_table(&table))
            }
            Stmt::DropTable { names, if_exists } => {
                for name in names {
                    self.drop_table(name, *if_exists)?;
                }
                Ok(())
            }
            Stmt::CreateTrigger { .. } | Stmt::DropTrigger { .. } => self.define_trigger(stmt),
            Stmt::Truncate(name) => self.truncate(name),
            Stmt::CreateIndex { name, unique, table, columns } => {
                self.may_define("ALTER")?;
                let place = self.placed(table)?;
                self.define(|session, _| {
                    let key = NewKey { name: name.clone(), primary: false, columns: columns.clone() };
                    session.create_index(&place, &key, *unique)
                })
            }
            Stmt::AddColumn { table, column } => self.alter(table, text, |table| {
                let id = table.columns.iter().map(|column| column.id).max().unwrap_or(0) + 1;
                table.columns.push(made(id, column)?);
                Ok(Some(id))
            }),
            Stmt::DropColumn { table, column } => self.alter(table, text, |table| {
                let id = table
                    .column(column)
                    .map(|column| column.id)
                    .ok_or_else(|| SqlError::invalid_column(column))?;
                if table.indexes.iter().any(|index| index.columns.contains(&id)) {
                    let message = format!("The object is dependent on column '{column}'.");
                    return Err(SqlError::new(5074, 16, 1, message));
                }
                table.columns.retain(|column| column.id != id);
                Ok(None)
            }),
            Stmt::AlterColumn { table, column } => self.alter(table, text, |table| {
                let changed = made(0, column)?;
                let old = table.columns.iter_mut().find(|old| same(&old.name, &column.name));
                let old = old.ok_or_else(|| SqlError::invalid_column(&column.name))?;
                if !widens(old.of, changed.of) {
                    return Err(SqlError::not_modelled(format!("ALTER COLUMN to {}", changed.of)));
                }
                (old.of, old.nullable) = (changed.of, changed.nullable);
                Ok(None)
            }),
            Stmt::CreateSchema(name) => self.define(|session, _| {
                session.database.change_catalog(&session.connection, |catalog| {
                    if catalog.schema_id(name).is_some() {
                        let message = format!("There is already an object named '{name}' in the database.");
                        return Err(SqlError::new(2714, 16, 6, message));
                    }
                    let id = catalog.schemas.iter().map(|(id, _)| *id).max().unwrap_or(4).max(4) + 1;
                    catalog.schemas.push((id, name.clone()));
                    Ok(())
                })
            }),
            Stmt::CreateDatabase(name) if self.sysadmin => self.server.create_database(name),
            Stmt::CreateDatabase(_) => {
                Err(SqlError::new(262, 14, 1, "CREATE DATABASE permission denied in database 'master'."))
            }
            Stmt::AlterDatabase { name, option } => self.alter_database(name, option),
            Stmt::Rights(words) => self.run_rights(words),
            _ => Err(SqlError::not_modelled("this statement")),
        }
    }

    pub(super) fn may_define(&self, permission: &str) -> Result<(), SqlError> {
        let catalog = self.database.catalog();
        if self.principal.may(&catalog, permission, "dbo", "")
            || self.principal.may_database(&catalog, permission)
        {
            return Ok(());
        }
        let message = format!("{permission} permission denied in database '{}'.", self.database.name);
        Err(SqlError::new(262, 14, 1, message))
    }

    pub(super) fn placed(&self, name: &[String]) -> Result<(String, String), SqlError> {
        match name {
            [object] => Ok(("dbo".to_owned(), object.clone())),
            [schema, object] => Ok((schema.clone(), object.clone())),
            [database, schema, object] if same(database, &self.database.name) => {
                Ok((schema.clone(), object.clone()))
            }
            _ => Err(SqlError::invalid_object(name.join("."))),
        }
    }

    fn create_table(
        &self,
        ((schema, name), columns, keys): &((String, String), &[NewColumn], &[NewKey]),
    ) -> Result<(), SqlError> {
        let now = self.server.local_now();
        let table = self.database.change_catalog(&self.connection, |catalog| {
            if catalog.table(schema, name).is_some() {
                let message = format!("There is already an object named '{name}' in the database.");
                return Err(SqlError::new(2714, 16, 6, message));
            }
            let schema = catalog
                .schemas
                .iter()
                .find(|(_, known)| same(known, schema))
                .map(|(_, known)| known.clone())
                .ok_or_else(|| {
                    let message = format!("The specified schema name \"{schema}\" either does not exist or you do not have permission to use it.");
                    SqlError::new(2760, 16, 1, message)
                })?;
            let mut made_columns = Vec::new();
            for (id, column) in (1..).zip(*columns) {
                if made_columns.iter().any(|known: &Column| same(&known.name, &column.name)) {
                    let message = format!("Column names in each table must be unique. Column name '{}' in table '{name}' is specified more than once.", column.name);
                    return Err(SqlError::new(2705, 16, 3, message));
                }
                made_columns.push(made(id, column)?);
            }
            let mut table = Table {
                id: catalog.new_object(),
                schema,
                name: name.clone(),
                columns: made_columns,
                indexes: Vec::new(),
                system: false,
                created_at: now,
            };
            for key in *keys {
                let index = index_of(&mut table, key, true)?;
                table.indexes.push(index);
            }
            catalog.tables.insert(table.id, table.clone());
            Ok(table)
        })?;
        tables::store(&self.connection, &table)
    }

    fn create_index(&self, place: &(String, String), key: &NewKey, unique: bool) -> Result<(), SqlError> {
        let (table, index) = self.database.change_catalog(&self.connection, |catalog| {
            let table = found(catalog, place)?;
            let mut index = index_of(table, key, unique)?;
            index.constraint = false;
            table.indexes.push(index.clone());
            Ok((table.clone(), index))
        })?;
        tables::store_index(&self.connection, &table, &index)
    }

    fn drop_table(&mut self, name: &[String], if_exists: bool) -> Result<(), SqlError> {
        let place = self.placed(name)?;
        let catalog = self.database.catalog();
        let Some(table) = catalog.table(&place.0, &place.1).cloned() else {
            if if_exists {
                return Ok(());
            }
            let message = format!(
                "Cannot drop the table '{}', because it does not exist or you do not have permission.",
                name.join(".")
            );
            return Err(SqlError::new(3701, 11, 5, message));
        };
        self.may_define("ALTER")?;
        self.define(|session, tran| {
            // The instances of a table go with it.
            if catalog.instances_of(table.id).next().is_some() {
                let names = (table.schema.as_str(), table.name.as_str(), "all");
                enable::disable_table(&session.database, &session.connection, names, tran.id)?;
            }
            session.database.change_catalog(&session.connection, |catalog| {
                catalog.tables.remove(&table.id);
                catalog.triggers.retain(|trigger| trigger.table != table.id);
                Ok(())
            })?;
            Ok(session.connection.execute_batch(&format!("DROP TABLE {}", table.stored()))?)
        })
    }

    /// Changes a table's columns; a change that answers a number adds the column of that number.
    fn alter(
        &mut self,
        name: &[String],
        text: &str,
        change: impl Fn(&mut Table) -> Result<Option<i64>, SqlError>,
    ) -> Result<(), SqlError> {
        let place = self.placed(name)?;
        self.may_define("ALTER")?;
        self.define(|session, tran: &mut Tran| {
            let (table, added) = session.database.change_catalog(&session.connection, |catalog| {
                let table = found(catalog, &place)?;
                let added = change(table)?;
                Ok((table.clone(), added))
            })?;
            if let Some(column) = added.and_then(|id| table.columns.iter().find(|column| column.id == id)) {
                let sql =
                    format!("ALTER TABLE {} ADD COLUMN {}", table.stored(), tables::stored_column(column));
                session.connection.execute_batch(&sql)?;
            }
            let moment = (tran.id, session.server.local_now());
            enable::note_ddl(&session.database, &session.connection, (table.id, text), moment)
        })
    }

    fn alter_database(&mut self, name: &str, option: &[String]) -> Result<(), SqlError> {
        let name = if same(name, "CURRENT") { self.database.name.clone() } else { name.to_owned() };
        let database = self
            .server
            .database(&name)
            .ok_or_else(|| SqlError::new(5011, 14, 5, format!("User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks.")))?;
        if !self.principal.owner(&self.database.catalog()) {
            return Err(SqlError::new(
                5011,
                14,
                5,
                format!("User does not have permission to alter database '{name}'."),
            ));
        }
        let words: Vec<String> =
            option.iter().map(|word| word.to_uppercase()).filter(|word| word != "=").collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let change = |catalog: &mut Catalog| match words.as_slice() {
            ["ALLOW_SNAPSHOT_ISOLATION", switch @ ("ON" | "OFF")] => {
                catalog.snapshot_isolation = *switch == "ON";
                Ok(())
            }
            ["READ_COMMITTED_SNAPSHOT", switch @ ("ON" | "OFF"), ..] => {
                catalog.read_committed_snapshot = *switch == "ON";
                Ok(())
            }
            ["RECOVERY", "FULL"] => Ok(()),
            other => Err(SqlError::not_modelled(other.join(" "))),
        };
        let view = std::sync::Arc::default();
        let connection = database.connect(&view)?;
        let _lock = database.lock();
        database.change_catalog(&connection, change)
    }
}

pub(super) fn found<'a>(
    catalog: &'a mut Catalog,
    (schema, name): &(String, String),
) -> Result<&'a mut Table, SqlError> {
    catalog
        .tables
        .values_mut()
        .find(|table| same(&table.schema, schema) && same(&table.name, name) && !table.system)
        .ok_or_else(|| {
            let message = format!("Cannot find the object \"{schema}.{name}\" because it does not exist or you do not have permissions.");
            SqlError::new(4902, 16, 1, message)
        })
}

fn made(id: i64, column: &NewColumn) -> Result<Column, SqlError> {
    Ok(Column {
        id,
        name: column.name.clone(),
        of: crate::bind::declared(&column.of)?,
        nullable: column.nullable,
        identity: column.identity,
        default: column.default.as_ref().map(ToString::to_string),
    })
}

fn index_of(table: &mut Table, key: &NewKey, unique: bool) -> Result<Index, SqlError> {
    let mut columns = Vec::new();
    for name in &key.columns {
        let column = table.columns.iter_mut().find(|column| same(&column.name, name)).ok_or_else(|| {
            SqlError::new(
                1911,
                16,
                1,
                format!("Column name '{name}' does not exist in the target table or view."),
            )
        })?;
        if key.primary {
            column.nullable = false;
        }
        columns.push(column.id);
    }
    let prefix = if key.primary { "PK" } else { "UQ" };
    let name = key.name.clone().unwrap_or_else(|| format!("{prefix}__{}__{}", table.name, Session::suffix()));
    let last = table.indexes.iter().map(|index| index.id).max().unwrap_or(1);
    let id = if key.primary { 1 } else { last + 1 };
    Ok(Index { id, name, unique, primary: key.primary, constraint: !key.primary, columns })
}

/// Do the values that are stored stay what they are?
fn widens(from: crate::sql::datatype::SqlType, to: crate::sql::datatype::SqlType) -> bool {
    use crate::sql::datatype::{Length, SqlType};
    let (Some((low, high)), Some((to_low, to_high))) = (from.whole_range(), to.whole_range()) else {
        return match (from, to) {
            (
                SqlType::Text { fixed: false, length, .. },
                SqlType::Text { fixed: false, length: wanted, .. },
            )
            | (SqlType::Bytes { fixed: false, length }, SqlType::Bytes { fixed: false, length: wanted }) => {
                match (length, wanted) {
                    (_, Length::Max) => true,
                    (Length::Limited(old), Length::Limited(new)) => new >= old,
                    _ => false,
                }
            }
            (from, to) => from == to,
        };
    };
    to_low <= low && high <= to_high
}
