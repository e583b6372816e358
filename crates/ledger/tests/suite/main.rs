//! The ledger, seen from outside: what survives, what leaves, and in which order.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod arrange;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod deletions;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod file;
#[cfg(test)]
mod history;
#[cfg(test)]
mod ingesting;
#[cfg(test)]
mod life;
#[cfg(test)]
mod model;
#[cfg(test)]
mod pruning;
#[cfg(test)]
mod quarantine;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod versions;
