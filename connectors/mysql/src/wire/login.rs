//! The greeting and the log-in
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).

use change::{SourceError, SourceErrorKind};
use mysql_common::auth::plugins::{AuthProc, ChallengeResponsePlugin, Context};
use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey};
use mysql_common::packets::AuthPlugin;

use super::Connection;
use super::fields::{Fields, Truncated};
use crate::config::MysqlConfig;
use crate::fault::Refusal;
use crate::flavour::Flavour;
use trust::TlsMode;

/// What we can do; the server must be able to do it too, but for what is [`OPTIONAL`].
const WANTED: CapabilityFlags = CapabilityFlags::CLIENT_LONG_PASSWORD
    .union(CapabilityFlags::CLIENT_LONG_FLAG)
    .union(CapabilityFlags::CLIENT_PROTOCOL_41)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_DEPRECATE_EOF);
/// `utf8mb4_general_ci`, which every server of both products knows.
const UTF8MB4: u8 = 45;
/// The longest challenge that a plugin sends.
const CHALLENGE_BYTES_MAX: usize = 256;
/// Log-ins take a handful of packets; more of them are a server gone mad.
const STEPS_MAX: usize = 16;
/// The answer to a log-in with `caching_sha2_password` that has to prove the whole password, and our question for the
/// server's key
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>).
const FULL_AUTHENTICATION: u8 = 4;
const REQUEST_PUBLIC_KEY: u8 = 2;

/// What the server says first.
struct Greeting {
    flavour: Flavour,
    capabilities: CapabilityFlags,
    plugin: Vec<u8>,
    challenge: Vec<u8>,
}

impl Greeting {
    /// Reads protocol version 10, the only one since MySQL 3.21.
    fn read(body: &[u8]) -> Result<Self, Truncated> {
        let mut fields = Fields(body);
        if fields.u8()? != 10 {
            return Err(Truncated);
        }
        let flavour = Flavour::read(&String::from_utf8_lossy(fields.until_zero()?));
        let _connection_id = fields.u32()?;
        let mut challenge = fields.bytes(8)?.to_vec();
        let _filler = fields.u8()?;
        let low = u32::from(fields.u16()?);
        let _charset = fields.u8()?;
        let _status = fields.u16()?;
        let high = u32::from(fields.u16()?);
        let length = usize::from(fields.u8()?);
        let _reserved = fields.bytes(10)?;
        let rest = length.saturating_sub(8).max(13);
        let part = fields.bytes(rest.min(fields.0.len()))?;
        challenge.extend_from_slice(part.strip_suffix(&[0]).unwrap_or(part));
        let plugin = fields.until_zero().unwrap_or(fields.0).to_vec();
        Ok(Self {
            flavour,
            capabilities: CapabilityFlags::from_bits_truncate(high << 16 | low),
            plugin,
            challenge,
        })
    }
}

/// What the plugins ask for.
struct Secrets<'a> {
    password: &'a [u8],
    challenge: &'a [u8],
    private: bool,
}

impl Context for &Secrets<'_> {
    fn pass(&self) -> &[u8] {
        self.password
    }

    fn is_ipc_transport(&self) -> bool {
        false
    }

    fn is_tls_transport(&self) -> bool {
        self.private
    }

    fn scramble(&self) -> &[u8] {
        self.challenge
    }

    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

/// Logs in, with TLS where the configuration asks for it. Returns who answers.
///
/// # Errors
/// When the server refuses, or asks for a way of logging in that is not known here.
pub(super) fn log_in(connection: &mut Connection, config: &MysqlConfig) -> Result<Flavour, SourceError> {
    let context = format!("log in to {} as \"{}\"", config.address(), config.user);
    let greeting = greet(connection, config, &context)?;
    let mut capabilities = WANTED & (greeting.capabilities | CapabilityFlags::CLIENT_LONG_PASSWORD);
    if !greeting
        .capabilities
        .contains(CapabilityFlags::CLIENT_PROTOCOL_41 | CapabilityFlags::CLIENT_PLUGIN_AUTH)
    {
        return Err(not_ours(config));
    }
    let head = |capabilities: CapabilityFlags| {
        let mut head = capabilities.bits().to_le_bytes().to_vec();
        head.extend_from_slice(&(1_u32 << 30).to_le_bytes());
        head.push(UTF8MB4);
        head.extend_from_slice(&[0; 23]);
        head
    };
    if config.tls != TlsMode::Disable && config.socket().is_none() {
        if !greeting.capabilities.contains(CapabilityFlags::CLIENT_SSL) {
            let mend = "turn TLS on (ssl_cert and ssl_key, or have_ssl in SHOW VARIABLES)";
            return Err(config.endpoint(&config.address()).refused(mend));
        }
        capabilities |= CapabilityFlags::CLIENT_SSL;
        connection.send(&head(capabilities))?;
        connection.encrypt(config)?;
    }
    connection.deprecates_eof = capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);

    let mut login = Login::new(config, &greeting.plugin, &greeting.challenge)?;
    let answer = login.step(connection.is_private(), &greeting.challenge)?.unwrap_or_default();
    let mut response = head(capabilities);
    response.extend_from_slice(config.user.as_bytes());
    response.push(0);
    response.push(u8::try_from(answer.len()).unwrap_or(u8::MAX));
    response.extend_from_slice(answer.get(..answer.len().min(255)).unwrap_or_default());
    response.extend_from_slice(login.plugin.as_bytes());
    response.push(0);
    connection.send(&response)?;
    converse(connection, config, &context, login)?;
    Ok(greeting.flavour)
}

fn greet(connection: &mut Connection, config: &MysqlConfig, context: &str) -> Result<Greeting, SourceError> {
    let body = connection.wait_for_login(config)?;
    if let Some((0xff, refusal)) = body.split_first() {
        return Err(Refusal::read(refusal).into_error(context));
    }
    Greeting::read(body).map_err(|_| not_ours(config))
}

/// Answers what the server asks until it lets us in.
fn converse<'a>(
    connection: &mut Connection,
    config: &'a MysqlConfig,
    context: &str,
    mut login: Login<'a>,
) -> Result<(), SourceError> {
    for _ in 0..STEPS_MAX {
        let private = connection.is_private();
        let body = connection.wait_for_login(config)?;
        let answer = match body.split_first() {
            Some((0x00, _)) => return Ok(()),
            Some((0xff, refusal)) => return Err(Refusal::read(refusal).into_error(context)),
            Some((0xfe, switch)) => {
                let mut fields = Fields(switch);
                let plugin = fields.until_zero().map_err(|_| not_ours(config))?;
                let challenge = fields.0.strip_suffix(&[0]).unwrap_or(fields.0);
                login = Login::new(config, plugin, challenge)?;
                let challenge = login.challenge.clone();
                Some(login.step(private, &challenge)?.unwrap_or_default())
            }
            Some((0x01, more)) => login.more(private, more)?,
            _ => return Err(not_ours(config)),
        };
        if let Some(answer) = answer {
            connection.send(&answer)?;
        }
    }
    Err(not_ours(config))
}

/// A log-in by one plugin.
struct Login<'a> {
    config: &'a MysqlConfig,
    plugin: AuthPlugin<'static>,
    proc: AuthProc,
    challenge: Vec<u8>,
    key_asked: bool,
}

impl<'a> Login<'a> {
    fn new(config: &'a MysqlConfig, plugin: &[u8], challenge: &[u8]) -> Result<Self, SourceError> {
        let plugin = match AuthPlugin::from_bytes(plugin) {
            // Servers that name none mean this one.
            AuthPlugin::Other(name) if name.is_empty() => AuthPlugin::MysqlNativePassword,
            plugin => plugin.into_owned(),
        };
        let known = matches!(
            plugin,
            AuthPlugin::MysqlNativePassword | AuthPlugin::CachingSha2Password | AuthPlugin::Ed25519
        );
        let proc = AuthProc::init(&plugin).ok().filter(|_| known);
        let (Some(proc), true) = (proc, challenge.len() <= CHALLENGE_BYTES_MAX) else {
            return Err(unsupported(config, &plugin));
        };
        if config.password.is_none() {
            tracing::debug!(user = config.user, "no password is configured");
        }
        Ok(Self { config, plugin, proc, challenge: challenge.to_vec(), key_asked: false })
    }

    fn password(&self) -> &'a [u8] {
        self.config.password.as_deref().unwrap_or_default().as_bytes()
    }

    /// The plugin's answer to a challenge.
    fn step(&mut self, private: bool, challenge: &[u8]) -> Result<Option<Vec<u8>>, SourceError> {
        let secrets = Secrets { password: self.password(), challenge: &self.challenge, private };
        let response = self.proc.run(&secrets, challenge).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Authentication,
                format!("{} logs in by {} out of order", self.config.address(), name(&self.plugin)),
            )
            .caused_by(error)
        })?;
        Ok(response.data().map(<[u8]>::to_vec))
    }

    /// The answer to what a plugin's other half says after the first answer.
    fn more(&mut self, private: bool, more: &[u8]) -> Result<Option<Vec<u8>>, SourceError> {
        if self.key_asked {
            return self.sealed_password(more).map(Some);
        }
        let full = matches!(self.plugin, AuthPlugin::CachingSha2Password) && more == [FULL_AUTHENTICATION];
        if full && !private {
            self.key_asked = true;
            return Ok(Some(vec![REQUEST_PUBLIC_KEY]));
        }
        self.step(private, more)
    }

    /// The password, for the server's eyes only. The key is the server's word: its size is looked at first, because
    /// the arithmetic trusts it.
    fn sealed_password(&self, pem: &[u8]) -> Result<Vec<u8>, SourceError> {
        let fault = |what: &str| {
            SourceError::new(
                SourceErrorKind::Authentication,
                format!("{} sent a public key that {what}", self.config.address()),
            )
            .with_hint("encrypt the connection: with tls = \"require\" or better no key is needed")
        };
        let key = PublicKey::from_pem(pem).map_err(|error| fault("cannot be read").caused_by(error))?;
        let mut password = self.password().to_vec();
        password.push(0);
        for (byte, mask) in password.iter_mut().zip(self.challenge.iter().cycle()) {
            *byte ^= mask;
        }
        // OAEP with SHA-1 takes 42 bytes of the block.
        if !(128..=2048).contains(&key.num_octets()) || password.len() + 42 > key.num_octets() {
            return Err(fault("is of a size that cannot be used"));
        }
        key.encrypt_block(&password, Pkcs1OaepPadding::new(GetRandom))
            .map_err(|error| fault("cannot be used").caused_by(error))
    }
}

fn name(plugin: &AuthPlugin<'_>) -> String {
    String::from_utf8_lossy(plugin.as_bytes()).into_owned()
}

fn unsupported(config: &MysqlConfig, plugin: &AuthPlugin<'_>) -> SourceError {
    let what = format!(
        "{} wants \"{}\" to log in by {}, expected caching_sha2_password, mysql_native_password or ed25519",
        config.address(),
        config.user,
        name(plugin)
    );
    SourceError::new(SourceErrorKind::Authentication, what)
        .with_hint("give the user a password of one of these kinds: run `bitacora setup` for the statement")
}

fn not_ours(config: &MysqlConfig) -> SourceError {
    SourceError::new(
        SourceErrorKind::Protocol,
        format!("what answers at {} does not speak the protocol of MySQL", config.address()),
    )
    .with_hint("check that host and port lead to MySQL 8.0 or MariaDB 10.6 or newer itself, not to its X protocol port")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What MariaDB 10.11 says first.
    const MARIADB: &[u8] =
        b"\x0a5.5.5-10.11.14-MariaDB\0\x05\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\
        \x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";

    #[test]
    fn the_greeting_tells_product_challenge_and_plugin() {
        let greeting = Greeting::read(MARIADB).unwrap();
        assert_eq!(greeting.flavour.version, (10, 11, 14));
        assert_eq!(greeting.challenge, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.plugin, b"mysql_native_password");
        assert!(greeting.capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH));
    }

    proptest! {
        #[test]
        fn a_damaged_greeting_is_no_reason_to_panic(at in 0..MARIADB.len(), with in any::<u8>(), cut in 0..MARIADB.len()) {
            let mut bytes = MARIADB.to_vec();
            bytes[at] = with;
            drop(Greeting::read(&bytes[..cut]));
            drop(Greeting::read(&bytes));
        }
    }
}
