//! Batches: their statements in order.

use std::time::{Duration, Instant};

use rand::Rng as _;
use sqlparser::ast::{Expr, Statement};

use super::parse::batch;
use super::statement::{Line, Stmt};
use super::{Session, Stop};
use crate::bind::{Binder, Facts};
use crate::server::faults::{Action, met, raised};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

/// A loop runs at most so often: a test that never ends tells nothing.
const LOOPS_MAX: u32 = 10_000_000;

impl Session {
    /// Runs a batch, meeting the faults that wait for it.
    pub(super) fn run_text(&mut self, text: &str) -> Result<(), Stop> {
        let actions = met(&mut self.server.faults(), text, false);
        for action in actions {
            self.meet(action)?;
        }
        let outcome = match batch(text) {
            Ok(lines) => self.run_lines(&lines),
            Err(error) => self.fail(&error),
        };
        self.cut_after = None;
        match outcome {
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(Stop::Batch) if self.in_procedure => Err(Stop::Batch),
            _ => Ok(()),
        }
    }

    fn meet(&mut self, action: Action) -> Result<(), Stop> {
        match action {
            Action::Delay(delay) => self.pause(delay),
            Action::CutAfterRows(rows) => {
                self.cut_after = Some(rows + 1);
                Ok(())
            }
            Action::Fail(number) => {
                self.fail(&raised(number))?;
                Err(Stop::Batch)
            }
            Action::Before(text) => {
                match crate::server::control::run_as_administrator(&self.server, &self.database, &text) {
                    Ok(()) => Ok(()),
                    Err(error) => self.fail(&error),
                }
            }
            Action::Hang => self.pause(Duration::from_secs(86_400)),
            Action::RefuseLogin(_) => Ok(()),
        }
    }

    /// Waits, unless the client cancels or leaves.
    fn pause(&mut self, delay: Duration) -> Result<(), Stop> {
        let end = Instant::now() + delay;
        while Instant::now() < end {
            if self.signals.gone.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(Stop::Gone);
            }
            if self.signals.cancelled() || self.server.stopping.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(Stop::Batch);
            }
            std::thread::sleep(Duration::from_millis(5).min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    pub(super) fn run_lines(&mut self, lines: &[Line]) -> Result<(), Stop> {
        for line in lines {
            if self.signals.cancelled() {
                return Err(Stop::Batch);
            }
            self.line = line.number;
            let failed_before = self.last_error;
            self.last_error = 0;
            self.run_line(line)?;
            if matches!(line.stmt, Stmt::If(..) | Stmt::Block(_) | Stmt::While(..)) && self.last_error == 0 {
                self.last_error = failed_before;
            }
        }
        Ok(())
    }

    fn run_line(&mut self, line: &Line) -> Result<(), Stop> {
        match &line.stmt {
            Stmt::Sql(statement) => self.run_sql(statement),
            Stmt::If(condition, yes, no) => match self.holds(condition) {
                Ok(true) => self.run_lines(yes),
                Ok(false) => self.run_lines(no),
                Err(error) => self.fail(&error),
            },
            Stmt::While(condition, body) => self.repeat(condition, body),
            Stmt::Block(lines) => self.run_lines(lines),
            Stmt::Execute { procedure, arguments } => self.execute(procedure, arguments),
            Stmt::ExecuteText(text) => match self.evaluate(text) {
                Ok((_, Value::Text(text))) => self.run_text(&text),
                Ok(_) => Ok(()),
                Err(error) => self.fail(&error),
            },
            Stmt::Wait(delay) => match self.evaluate(delay) {
                Ok((_, Value::Text(text))) => {
                    let ticks = crate::sql::calendar::parse(&text, 7).map_or(0, |(ticks, _)| {
                        ticks - crate::sql::calendar::DAYS_TO_1900 * crate::sql::calendar::DAY
                    });
                    self.pause(Duration::from_nanos(u64::try_from(ticks).unwrap_or(0) * 100))
                }
                Ok(_) => Ok(()),
                Err(error) => self.fail(&error),
            },
            Stmt::Return => Err(Stop::Return),
            other => match self.run_plain(other, &line.text) {
                Ok(Ended::Quietly) => Ok(()),
                Ok(Ended::WithResult) => {
                    self.end_result(0, 0);
                    Ok(())
                }
                Err(error) => self.fail(&error),
            },
        }
    }

    fn repeat(&mut self, condition: &Expr, body: &[Line]) -> Result<(), Stop> {
        for _ in 0..LOOPS_MAX {
            match self.holds(condition) {
                Ok(true) => self.run_lines(body)?,
                Ok(false) => return Ok(()),
                Err(error) => return self.fail(&error),
            }
        }
        Ok(())
    }

    fn run_sql(&mut self, statement: &Statement) -> Result<(), Stop> {
        let count = match statement {
            Statement::Query(query) => return self.select(query),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            other => Err(SqlError::not_modelled(other)),
        };
        match count {
            Ok(count) => {
                self.row_count = i64::try_from(count).unwrap_or(i64::MAX);
                let status = if self.count_rows { crate::tds::token::COUNT } else { 0 };
                self.end_result(status, count);
                Ok(())
            }
            Err(error) => self.fail(&error),
        }
    }

    fn run_plain(&mut self, stmt: &Stmt, text: &str) -> Result<Ended, SqlError> {
        match stmt {
            Stmt::Declare(all) => {
                for (name, of, value) in all {
                    let of = crate::bind::declared(of)?;
                    self.variables.insert(name.to_lowercase(), (of, Value::Null));
                    if let Some(value) = value {
                        let (from, value) = self.evaluate(value)?;
                        self.set_variable(name, value, from)?;
                    }
                }
                Ok(Ended::Quietly)
            }
            Stmt::SetVariable(name, value) => {
                let (from, value) = self.evaluate(value)?;
                self.set_variable(name, value, from)?;
                Ok(Ended::Quietly)
            }
            Stmt::SetContext(value) => {
                let (of, value) = self.evaluate(value)?;
                let of_context =
                    SqlType::Bytes { fixed: true, length: crate::sql::datatype::Length::Limited(128) };
                self.context = match crate::sql::convert::convert(&value, of, of_context, 0)? {
                    Value::Bytes(bytes) => Some(bytes),
                    _ => None,
                };
                Ok(Ended::WithResult)
            }
            Stmt::SetOption(words) => self.set_option(words).map(|()| Ended::WithResult),
            Stmt::Begin => self.begin().map(|()| Ended::WithResult),
            Stmt::Commit => self.commit().map(|()| Ended::WithResult),
            Stmt::Rollback(name) => self.rollback(name.as_deref()).map(|()| Ended::WithResult),
            Stmt::Save(name) => self.save(name).map(|()| Ended::WithResult),
            Stmt::Use(name) => self.enter(name).map(|()| Ended::WithResult),
            Stmt::Print(value) => {
                let (of, value) = self.evaluate(value)?;
                let text = crate::sql::format::text(&value, of, 0)?;
                self.write_ending(crate::tds::token::MORE);
                self.out.error(&SqlError::new(0, 0, 1, text));
                Ok(Ended::WithResult)
            }
            Stmt::RaiseError(values) => self.raise(values),
            other => self.run_definition(other, text).map(|()| Ended::WithResult),
        }
    }

    /// `RAISERROR (text, class, state)`
    fn raise(&mut self, values: &[Expr]) -> Result<Ended, SqlError> {
        let [text, class, state, ..] = values else { return Err(SqlError::syntax("RAISERROR")) };
        let (_, text) = self.evaluate(text)?;
        let number =
            |value: &Value| value.as_int().and_then(|number| u8::try_from(number).ok()).unwrap_or(16);
        let (_, class) = self.evaluate(class)?;
        let (_, state) = self.evaluate(state)?;
        let error = SqlError::new(50_000, number(&class), number(&state), text.as_text().unwrap_or_default());
        if error.class > 10 {
            return Err(error);
        }
        self.write_ending(crate::tds::token::MORE);
        self.out.error(&error);
        Ok(Ended::WithResult)
    }

    /// `sp_executesql`: a text with parameters, which the text alone sees.
    pub(super) fn execute_with(
        &mut self,
        text: &str,
        declared: &str,
        values: Vec<(String, SqlType, Value)>,
    ) -> Result<(), Stop> {
        let outer = std::mem::take(&mut self.variables);
        let outcome = match self.bind_parameters(declared, values) {
            Ok(()) => self.run_text(text),
            Err(error) => self.fail(&error),
        };
        self.variables = outer;
        outcome
    }

    fn bind_parameters(
        &mut self,
        declared: &str,
        values: Vec<(String, SqlType, Value)>,
    ) -> Result<(), SqlError> {
        let mut names = Vec::new();
        if !declared.trim().is_empty() {
            let lines = batch(&format!("DECLARE {}", without_output(declared)))?;
            if let Some(Line { stmt: Stmt::Declare(all), .. }) = lines.first() {
                for (name, of, _) in all {
                    self.variables.insert(name.to_lowercase(), (crate::bind::declared(of)?, Value::Null));
                    names.push(name.clone());
                }
            }
        }
        for (at, (name, of, value)) in values.into_iter().enumerate() {
            let name = if name.is_empty() { names.get(at).cloned().unwrap_or_default() } else { name };
            if !self.variables.contains_key(&name.to_lowercase()) {
                let message =
                    format!("Procedure or function sp_executesql has too many arguments specified ({name}).");
                return Err(SqlError::new(8144, 16, 2, message));
            }
            self.set_variable(&name, value, of)?;
        }
        Ok(())
    }

    /// The server's own random choice, for names that nobody chose.
    pub(super) fn suffix() -> String {
        let mut random = rand::rng();
        format!("{:08X}", random.random::<u32>())
    }
}

enum Ended {
    /// Without any token.
    Quietly,
    WithResult,
}

fn without_output(declared: &str) -> String {
    let words = declared.split(',').map(|part| {
        let lower = part.trim_end().to_lowercase();
        let cut = lower.strip_suffix(" output").or_else(|| lower.strip_suffix(" out")).map(str::len);
        cut.and_then(|length| part.get(..length)).unwrap_or(part).to_owned()
    });
    words.collect::<Vec<_>>().join(",")
}

/// A binder for one statement of the session.
pub(super) fn binder<'a>(facts: &'a Facts<'a>) -> Binder<'a> {
    Binder::new(facts)
}
