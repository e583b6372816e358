//! Connections: from the first bytes to a session, and then bytes in both directions until one side ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::faults::{Action, met, raised};
use super::state::ServerState;
use crate::Encryption as Offered;
use crate::session::{Entry, Session, Signals};
use crate::sql::error::SqlError;
use crate::tds::ProtocolError;
use crate::tds::login::Login;
use crate::tds::packet::{self, Kind};
use crate::tds::prelogin::{self, Encryption};
use crate::tds::token::{Done, ERROR, TokenStream};
use crate::tds::wire::Wire;
use crate::tds::{login, request};

/// Bytes that may wait for a client before its session waits, too.
const QUEUED_MAX: usize = 1 << 20;

/// Takes connections until the server stops.
pub(crate) async fn listen(listener: TcpListener, server: Arc<ServerState>, tls: Arc<ServerConfig>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (server, tls) = (Arc::clone(&server), Arc::clone(&tls));
        tokio::spawn(async move {
            // Whatever ends a connection ends it for its client alone, who sees it.
            drop(serve(stream, server, tls).await);
        });
    }
}

async fn serve(
    stream: TcpStream,
    server: Arc<ServerState>,
    tls: Arc<ServerConfig>,
) -> Result<(), ProtocolError> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let mut wire = Wire::new(stream);
    let Some(first) = wire.message().await? else { return Ok(()) };
    if first.kind != Kind::Prelogin {
        return Err(ProtocolError::Malformed("the first message is no prelogin"));
    }
    let wanted = prelogin::wanted(&first.body)?;
    let agreed = agree(wanted, server.options.encryption);
    wire.queue(&packet::answer(&prelogin::answer(agreed), packet::DEFAULT_SIZE))?;
    wire.flush().await?;
    if agreed == Encryption::Required && wanted == Encryption::None as u8 {
        return Ok(());
    }
    if agreed != Encryption::None {
        wire.handshake(tls).await?;
    }
    let Some(message) = wire.message().await? else { return Ok(()) };
    if message.kind != Kind::Login {
        return Err(ProtocolError::Malformed("the log-in is no log-in"));
    }
    if agreed == Encryption::Login {
        wire.end_encryption();
    }
    let login = login::parse(&message.body)?;
    pump(wire, server, login, local).await
}

/// What both sides can, and at least one insists on.
fn agree(wanted: u8, offered: Offered) -> Encryption {
    const OFF: u8 = Encryption::Login as u8;
    const NONE: u8 = Encryption::None as u8;
    match (offered, wanted) {
        (Offered::NotSupported, _) | (Offered::Off | Offered::On, NONE) => Encryption::None,
        (Offered::Off, OFF) => Encryption::Login,
        (Offered::Required, OFF | NONE) => Encryption::Required,
        (Offered::On, OFF) => Encryption::Login,
        _ => Encryption::On,
    }
}

/// Moves bytes between the socket and the session's own thread.
async fn pump(
    mut wire: Wire,
    server: Arc<ServerState>,
    login: Login,
    local: SocketAddr,
) -> Result<(), ProtocolError> {
    let (requests, inbox) = std::sync::mpsc::channel();
    let (outbox, mut answers) = mpsc::channel::<Vec<u8>>(64);
    let signals = Arc::new(Signals::default());
    let worker_signals = Arc::clone(&signals);
    std::thread::spawn(move || work(&server, &login, local, (inbox, outbox), &worker_signals));
    let outcome = loop {
        while let Some(message) = wire.ready_message()? {
            let request = request::parse(&message)?;
            if message.kind == Kind::Attention {
                signals.attentions.fetch_add(1, Ordering::SeqCst);
                signals.interrupt();
            }
            if requests.send(request).is_err() {
                return wire.flush().await;
            }
        }
        let room = wire.queued() < QUEUED_MAX;
        tokio::select! {
            alive = wire.exchange() => match alive {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            },
            bytes = answers.recv(), if room => match bytes {
                Some(bytes) => wire.queue(&bytes)?,
                // The session ended itself: what it said last still goes out.
                None => break wire.flush().await,
            },
        }
    };
    signals.gone.store(true, Ordering::SeqCst);
    signals.interrupt();
    outcome
}

type Channels = (std::sync::mpsc::Receiver<request::Request>, mpsc::Sender<Vec<u8>>);

/// A session's thread.
fn work(
    server: &Arc<ServerState>,
    login: &Login,
    local: SocketAddr,
    (inbox, outbox): Channels,
    signals: &Arc<Signals>,
) {
    let size = match login.packet_size {
        0 => packet::DEFAULT_SIZE,
        size => size.clamp(512, packet::SIZE_MAX),
    };
    let mut refusal = TokenStream::new(outbox.clone(), packet::DEFAULT_SIZE, &server.name);
    if login.read_only_intent
        && let Some((host, port)) =
            server.options.read_only_route.clone().filter(|(_, port)| *port != local.port())
    {
        refusal.logged_in(&login.database, size);
        refusal.routed(&host, port);
        refusal.done(Done::Batch, 0, 0);
        drop(refusal.finish());
        return;
    }
    let out = TokenStream::new(outbox, size, &server.name);
    let session = admit(server, login).and_then(|entry| Session::new(server, entry, signals, out));
    let mut session = match session {
        Ok(session) => session,
        Err(error) => {
            refusal.error(&error);
            refusal.done(Done::Batch, ERROR, 0);
            drop(refusal.finish());
            return;
        }
    };
    drop(refusal);
    if session.greet(size).is_ok() {
        while let Ok(request) = inbox.recv() {
            if session.request(request).is_err() {
                break;
            }
        }
    }
    session.end();
}

/// Checks who wants to come in, and where to.
fn admit(server: &Arc<ServerState>, login: &Login) -> Result<Entry, SqlError> {
    for action in met(&mut server.faults(), &login.user, true) {
        if let Action::RefuseLogin(number) = action {
            return Err(refused(number, login));
        }
    }
    let known = server.login(&login.user, &login.password).ok_or_else(|| refused(18_456, login))?;
    let name = if login.database.is_empty() { "master" } else { &login.database };
    let database = server.database(name).ok_or_else(|| refused(4060, login))?;
    crate::session::principal(&database, &known.name, known.sysadmin).map_err(|_| refused(4060, login))?;
    Ok(Entry { login: known.name, sysadmin: known.sysadmin, database })
}

fn refused(number: i32, login: &Login) -> SqlError {
    let mut error = raised(number);
    error.message = match number {
        4060 => {
            format!("Cannot open database \"{}\" requested by the login. The login failed.", login.database)
        }
        18_456 => format!("Login failed for user '{}'.", login.user),
        40_613 => format!(
            "Database '{}' on server 'STANDIN' is not currently available. Please retry the connection later.",
            login.database
        ),
        _ => error.message,
    };
    error
}
