//! Triggers: statements of a table's own after each statement that changes it.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/statements/create-trigger-transact-sql>

use std::sync::Arc;

use sqlparser::ast::Statement;

use super::Session;
use super::definition::found;
use super::parse::batch;
use super::statement::{Line, Stmt};
use super::transaction::Tran;
use crate::bind::Fired;
use crate::engine::catalog::{Event, Table, Trigger, same};
use crate::sql::error::SqlError;

/// Triggers that fire each other reach no deeper.
const NESTING_MAX: usize = 32;

/// Whether a trigger has come to its end.
enum Flow {
    On,
    Returned,
}

impl Session {
    pub(super) fn define_trigger(&mut self, stmt: &Stmt) -> Result<(), SqlError> {
        self.may_define("ALTER")?;
        match stmt {
            Stmt::CreateTrigger { name, table, events, body } => {
                let place = self.placed(table)?;
                self.create_trigger((name, &place), events, body)
            }
            Stmt::DropTrigger { names, if_exists } => {
                names.iter().try_for_each(|name| self.drop_trigger(name, *if_exists))
            }
            _ => Err(SqlError::not_modelled("this statement")),
        }
    }

    fn create_trigger(
        &mut self,
        (name, place): (&[String], &(String, String)),
        events: &[Event],
        body: &str,
    ) -> Result<(), SqlError> {
        modelled(&batch(body)?)?;
        let (schema, name) = match name {
            [name] => (place.0.as_str(), name),
            [schema, name] => (schema.as_str(), name),
            _ => return Err(SqlError::invalid_object(name.join("."))),
        };
        if !same(schema, &place.0) {
            let message = format!(
                "Cannot create trigger '{schema}.{name}' because its schema is different from the schema of the target table or view."
            );
            return Err(SqlError::new(2103, 15, 1, message));
        }
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                if catalog.triggers.iter().any(|known| same(&known.name, name)) {
                    let message = format!("There is already an object named '{name}' in the database.");
                    return Err(SqlError::new(2714, 16, 2, message));
                }
                let table = found(catalog, place)?.id;
                let (id, name) = (catalog.new_object(), name.clone());
                let (events, body) = (events.to_vec(), body.to_owned());
                catalog.triggers.push(Trigger { id, name, table, events, body });
                Ok(())
            })
        })
    }

    fn drop_trigger(&mut self, name: &[String], if_exists: bool) -> Result<(), SqlError> {
        let wanted = name.last().cloned().unwrap_or_default();
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                let before = catalog.triggers.len();
                catalog.triggers.retain(|trigger| !same(&trigger.name, &wanted));
                if catalog.triggers.len() == before && !if_exists {
                    let message = format!("Cannot drop the trigger '{}', because it does not exist or you do not have permission.", name.join("."));
                    return Err(SqlError::new(3701, 11, 5, message));
                }
                Ok(())
            })
        })
    }

    /// Is the statement one of a trigger?
    pub(super) fn in_trigger(&self) -> bool {
        !self.fired.borrow().is_empty()
    }

    pub(super) fn has_trigger(&self, table: &Table, event: Event) -> bool {
        let catalog = self.database.catalog();
        catalog.triggers.iter().any(|trigger| trigger.table == table.id && trigger.events.contains(&event))
    }

    /// Runs the triggers that wait for `event`, also where it changed no row.
    ///
    /// # Errors
    /// What a trigger's statement answers; the transaction does not survive it.
    pub(super) fn fire(&self, event: Event, fired: Fired, tran: &mut Tran) -> Result<(), SqlError> {
        if self.fired.borrow().len() >= NESTING_MAX {
            let message =
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).";
            return Err(SqlError::new(217, 16, 1, message));
        }
        let catalog = self.database.catalog();
        let table = fired.table.id;
        self.fired.borrow_mut().push(Arc::new(fired));
        let mut waiting = catalog
            .triggers
            .iter()
            .filter(|trigger| trigger.table == table && trigger.events.contains(&event));
        let outcome = waiting.try_for_each(|trigger| self.run_trigger(trigger, tran));
        self.fired.borrow_mut().pop();
        outcome
    }

    fn run_trigger(&self, trigger: &Trigger, tran: &mut Tran) -> Result<(), SqlError> {
        let outcome = batch(&trigger.body).and_then(|lines| self.run_steps(&lines, tran));
        match outcome {
            Ok(_) => Ok(()),
            // The statement begins anew once the row that it met is free.
            Err(error) if self.view().blocked_by.is_some() => Err(error),
            Err(error) => {
                self.doomed.set(true);
                Err(error.in_procedure(&trigger.name))
            }
        }
    }

    fn run_steps(&self, lines: &[Line], tran: &mut Tran) -> Result<Flow, SqlError> {
        for line in lines {
            let flow = match &line.stmt {
                Stmt::Sql(statement) => self.run_step(statement, tran).map(|()| Flow::On)?,
                Stmt::Block(lines) => self.run_steps(lines, tran)?,
                Stmt::If(condition, yes, no) => {
                    let chosen = if self.holds_once(condition)? { yes } else { no };
                    self.run_steps(chosen, tran)?
                }
                Stmt::Return => Flow::Returned,
                // Settings of a trigger end with it.
                _ => Flow::On,
            };
            if matches!(flow, Flow::Returned) {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn run_step(&self, statement: &Statement, tran: &mut Tran) -> Result<(), SqlError> {
        match statement {
            Statement::Insert(insert) => self.insert_within(tran, insert).map(drop),
            Statement::Update(update) => self.update_within(tran, update).map(drop),
            Statement::Delete(delete) => self.delete_within(tran, delete).map(drop),
            other => Err(SqlError::not_modelled(other)),
        }
    }
}

/// Fails at the first statement that no trigger of this server can have.
fn modelled(lines: &[Line]) -> Result<(), SqlError> {
    for line in lines {
        match &line.stmt {
            Stmt::Sql(statement) => match **statement {
                Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {}
                _ => return Err(SqlError::not_modelled(statement)),
            },
            Stmt::Block(lines) => modelled(lines)?,
            Stmt::If(_, yes, no) => {
                modelled(yes)?;
                modelled(no)?;
            }
            Stmt::Return => {}
            Stmt::SetOption(words) if words.first().is_some_and(|word| word == "NOCOUNT") => {}
            _ => return Err(SqlError::not_modelled("this statement of a trigger")),
        }
    }
    Ok(())
}
