//! What an answer of the endpoint means for the batch.

use std::time::Duration;

use crate::fault::Fault;

/// What an exchange means for the batch that it carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The dashboard said that it has stored every record.
    Acknowledged,
    /// Send the same bytes again after a pause: the cause may pass by itself. Whether the dashboard has stored
    /// the batch may be unknown.
    Retry {
        /// How long the endpoint asked to be left alone.
        after: Option<Duration>,
        /// What happened.
        fault: Fault,
    },
    /// The batch is too large for something on the way: send smaller ones.
    TooLarge {
        /// What happened.
        fault: Fault,
    },
    /// The dashboard does not take this batch; a single record of it may be to blame.
    Refused {
        /// Whether sending the same bytes again is pointless.
        certain: bool,
        /// What happened.
        fault: Fault,
    },
    /// No batch will pass until someone acts.
    Halt {
        /// What happened.
        fault: Fault,
    },
}

impl Verdict {
    /// What happened, unless the batch was acknowledged.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Acknowledged => None,
            Self::Retry { fault, .. }
            | Self::TooLarge { fault }
            | Self::Refused { fault, .. }
            | Self::Halt { fault } => Some(fault),
        }
    }
}
