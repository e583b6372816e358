//! The courier at work: a ledger on one side, the dashboard's simulator on the other, and no database.

#[cfg(test)]
mod arrange;
#[cfg(test)]
mod lanes;
#[cfg(test)]
mod manners;
