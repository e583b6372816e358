//! Who is told of what: alerts by webhook and e-mail, in Spanish or English, and the all-clear after each.
//!
//! What stands is found out elsewhere. Here it is decided what each channel has yet to hear of, in words that say
//! what happened, what it means for the data and what to do. Messages hold no secret and no value of a row.
//!
//! # What must hold
//! - A channel hears of an alert once, again only after the configured time, and of its end only if it heard of it.
//! - What was told survives a restart, and an alert is not over because nobody has looked for it yet.
//! - A channel that fails is tried again more and more rarely, and says itself that it fails.
//! - Nothing grows: what is kept is one entry per kind of alert and channel, however long a channel fails.
//!
//! # Layout
//! - `language`, `catalogue`: the words
//! - `message`: an alert as a channel sends it
//! - `board`: what each channel has yet to hear of
//! - `webhook`, `email`, `tls`: the channels
//! - `herald`: the board and its channels

mod board;
mod catalogue;
mod email;
mod herald;
mod language;
mod message;
mod tls;
mod webhook;

pub use board::{Evidence, Standing};
pub use catalogue::{Words, codes, tells_detail, words};
pub use email::Mail;
pub use herald::{AlertError, Channel, ChannelFault, ChannelState, Herald, Manner};
pub use language::Language;
