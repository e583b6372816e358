//! `bitacora init`: an annotated configuration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::args::{EngineName, InitArgs};
use crate::exit::{Exit, Failure};
use crate::terminal;

use super::Context;

/// Writes the configuration and says how to go on.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<Exit, Failure> {
    let path = &context.global.config;
    write(path, &template(args.engine), args.force)?;
    terminal::say(&next_steps(path))?;
    Ok(Exit::Done)
}

/// The annotated configuration for `engine`.
fn template(engine: EngineName) -> String {
    let source = match engine {
        EngineName::Postgres => include_str!("../../templates/postgres.toml"),
        EngineName::Mysql => include_str!("../../templates/mysql.toml"),
        EngineName::Sqlserver => include_str!("../../templates/sqlserver.toml"),
    };
    [include_str!("../../templates/head.toml"), source, include_str!("../../templates/rest.toml")].concat()
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format!("the file {} exists already", path.display()))
            .for_the_data("nothing was changed")
            .with_hint("name another file with -c FILE, or overwrite this one with --force"),
        ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("")).display();
            Failure::new(format!("there is no folder {folder} to write {} into", path.display()))
                .with_hint("make the folder first, or name another file with -c FILE")
        }
        _ => Failure::new(format!("write {}", path.display())).caused_by(&error),
    })
}

fn next_steps(path: &Path) -> String {
    let file = path.display();
    format!(
        "Wrote {file}.

Next:
  1. Adapt [source], [mapping] and [delivery] in {file}; each key is explained there.
  2. export BITACORA_DB_PASSWORD=…        the password of the user in [source]
  3. bitacora setup -c {file}      the SQL that the database's administrator must run
  4. bitacora check -c {file}      what is still missing, with the commands that mend it
  5. bitacora run -c {file}        the daemon
  6. bitacora backfill -c {file}   the history since 2020, once"
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{Config, Engine, Secrets};

    const ENGINES: [(EngineName, Engine); 3] = [
        (EngineName::Postgres, Engine::Postgres),
        (EngineName::Mysql, Engine::Mysql),
        (EngineName::Sqlserver, Engine::Sqlserver),
    ];

    fn parse(text: &str) -> Result<Config, String> {
        parse_with(&[("BITACORA_DB_PASSWORD", "s3cret")], text)
    }

    fn parse_with(variables: &[(&str, &str)], text: &str) -> Result<Config, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Config::parse(text, Path::new("bitacora.toml"), &variable, Secrets::Needed)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_template_is_a_configuration_once_the_password_is_set() {
        for (name, engine) in ENGINES {
            let config = parse(&template(name)).unwrap();
            assert_eq!(config.source.engine, engine);
            assert_eq!(config.source.port, engine.default_port());
        }
    }

    #[test]
    fn what_a_template_leaves_commented_out_shows_values_that_are_valid() {
        let uncommented: String = template(EngineName::Postgres)
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if is_setting(rest) && !rest.starts_with("tls_c") => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let text = uncommented.replace("${BITACORA_API_KEY}", "k");
        let variables = [
            ("BITACORA_DB_PASSWORD", "s3cret"),
            ("BITACORA_WEBHOOK", "https://avisos.example/gancho"),
            ("BITACORA_SMTP_PASSWORD", "s3cret"),
            ("BITACORA_STATUS_TOKEN", "0123456789abcdef"),
        ];
        let config = parse_with(&variables, &text).unwrap();
        assert!(config.alerts.webhook.is_some() && config.alerts.email.is_some());
        assert!(config.status.token.is_some());
        assert!(config.backfill.window.is_some() && config.delivery.window.is_some());
        assert_eq!(config.delivery.requests_per_minute, Some(60));
        assert!(config.backfill.rows_per_second.is_some());
        assert_eq!(config.ledger.max_size, Some(20 << 30));
        assert_eq!(config.delivery.headers.len(), 1);
    }

    fn is_setting(line: &str) -> bool {
        let key = line.split('=').next().unwrap_or_default().trim_end();
        line.contains('=')
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    #[test]
    fn an_existing_file_is_overwritten_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bitacora.toml");
        write(&path, "first", false).unwrap();
        let refused = write(&path, "second", false).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        write(&path, "second", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
    }
}
