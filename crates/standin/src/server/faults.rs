//! What goes wrong because a test wants it to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What happens to a statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// The answer begins this much later.
    Delay(Duration),
    /// The connection is cut in the middle of the row after this many.
    CutAfterRows(u64),
    /// The statement fails with this number; class and text follow from it.
    Fail(i32),
    /// The log-in is refused with this number: 4060, 18456 or 40613.
    RefuseLogin(i32),
    /// T-SQL that is run by the system administrator before the statement, in the same database.
    Before(String),
    /// The answer never comes; the connection stays.
    Hang,
}

/// An action, and the statements that it happens to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fault {
    /// Only batches whose text has this in it; every one when empty. Log-ins are matched by their user's name.
    pub containing: String,
    /// How many matching ones are left alone first.
    pub skip: u32,
    /// How many it happens to after those.
    pub times: u32,
    /// What happens.
    pub action: Action,
}

impl Fault {
    /// A fault that happens once, to the next batch that has `containing` in it.
    #[must_use]
    pub fn once(containing: &str, action: Action) -> Fault {
        Fault { containing: containing.to_owned(), skip: 0, times: 1, action }
    }

    /// Leaves the first `count` matching batches alone.
    #[must_use]
    pub fn after(mut self, count: u32) -> Fault {
        self.skip = count;
        self
    }

    /// Happens to `count` batches.
    #[must_use]
    pub fn times(mut self, count: u32) -> Fault {
        self.times = count;
        self
    }

    fn is_for_logins(&self) -> bool {
        matches!(self.action, Action::RefuseLogin(_))
    }
}

/// The actions that `text` meets; spent faults go.
pub(crate) fn met(faults: &mut Vec<Fault>, text: &str, login: bool) -> Vec<Action> {
    let mut actions = Vec::new();
    for fault in faults.iter_mut().filter(|fault| fault.is_for_logins() == login) {
        if !text.contains(&fault.containing) {
            continue;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if fault.times > 0 {
            fault.times -= 1;
            actions.push(fault.action.clone());
        }
    }
    faults.retain(|fault| fault.times > 0);
    actions
}

/// Class and text of an error that is raised on demand.
pub(crate) fn raised(number: i32) -> crate::sql::error::SqlError {
    use crate::sql::error::SqlError;
    match number {
        1205 => crate::engine::versions::deadlock(),
        1222 => SqlError::new(1222, 16, 51, "Lock request time out period exceeded."),
        4060 => SqlError::new(4060, 11, 1, "Cannot open database requested by the login. The login failed."),
        18_456 => SqlError::new(18_456, 14, 1, "Login failed."),
        40_613 => SqlError::new(
            40_613,
            17,
            1,
            "Database on server is not currently available. Please retry the connection later.",
        ),
        9002 => SqlError::new(9002, 17, 4, "The transaction log for database is full."),
        other => SqlError::new(other, 16, 1, format!("Error {other} was asked for.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_for_its_turn_and_happens_as_often_as_it_was_told() {
        let mut faults = vec![Fault::once("_CT", Action::Hang).after(1).times(2)];
        let hits: Vec<bool> = ["x", "a_CT", "b_CT", "c_CT", "d_CT"]
            .map(|text| !met(&mut faults, text, false).is_empty())
            .to_vec();
        assert_eq!(hits, [false, false, true, true, false]);
        assert!(faults.is_empty());
    }
}
