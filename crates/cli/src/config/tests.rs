//! Whole configurations, and the complete messages about bad ones.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ::delivery::Precision;
use chrono::NaiveTime;
use normalizer::{Field, OnDelete, Rows, TimeField};
use pipeline::{GroupBy, Times};

use super::*;

mod delivery;

const LEAST: &str = r#"
[source]
engine = "postgres"
host = "db1"
database = "tramites"
user = "bitacora"
table = "public.solicitudes"

[mapping]
service_id = { value = "101" }
request_id = { column = "numero" }
opening_date = { column = "fecha_apertura" }
status_id = { column = "estado" }
last_modified_date = { commit_time = true }

[schedule]
flush_at = ["02:00"]

[delivery]
url = "https://dashboard.example/api/load"

[ledger]
dir = "/var/lib/bitacora"
"#;

fn parse_in(folder: &Path, text: &str, secrets: Secrets) -> Result<Config, ConfigError> {
    let variable = |name: &str| match name {
        "PASSWORD" => Some(OsString::from("s3cret")),
        "KEY" => Some(OsString::from("k-123")),
        "TOKEN" => Some(OsString::from("0123456789abcdef")),
        "TWO_LINES" => Some(OsString::from("one\ntwo")),
        "EMPTY" => Some(OsString::new()),
        _ => None,
    };
    Config::parse(text, &folder.join("bitacora.toml"), &variable, secrets)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_in(Path::new(""), text, Secrets::Needed)
}

#[test]
fn the_configurations_of_the_rehearsal_with_docker_are_whole() {
    for text in [
        include_str!("../../../../packaging/compose/postgres.toml"),
        include_str!("../../../../packaging/compose/mysql.toml"),
        include_str!("../../../../packaging/compose/mariadb.toml"),
    ] {
        let text = text.replace("BITACORA_DB_PASSWORD", "PASSWORD").replace("BITACORA_STATUS_TOKEN", "TOKEN");
        parse(&text).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The message about `text`.
fn mistakes(text: &str) -> String {
    parse(text).expect_err("the text holds mistakes").to_string()
}

/// The messages about the smallest configuration with one line replaced, or added to its section.
fn mistakes_with(changes: &[(&str, &str)]) -> String {
    let mut messages = String::new();
    for (section, line) in changes {
        let text = with(section, line);
        let message = match parse(&text) {
            Ok(_) => "accepted".to_owned(),
            Err(ConfigError::Invalid { problems, .. }) => problems
                .iter()
                .map(|problem| {
                    let hint = problem.hint.as_deref().unwrap_or("-");
                    format!("{}: {}: {}\n    hint: {hint}", problem.line, problem.key, problem.message)
                })
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error.to_string(),
        };
        writeln!(messages, "{line}\n{message}").unwrap();
    }
    messages
}

/// The smallest configuration with `line` in `section`, in place of the line with the same key if there is one.
fn with(section: &str, line: &str) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    let header = format!("[{section}]");
    let mut lines: Vec<&str> = Vec::new();
    let mut here = false;
    let mut found = false;
    for old in LEAST.lines() {
        if old.starts_with('[') {
            here = old == header;
        }
        if here && old.split('=').next().unwrap_or_default().trim() == key {
            continue;
        }
        lines.push(old);
        if old == header {
            lines.push(line);
            found = true;
        }
    }
    if !found {
        lines.extend([header.as_str(), line]);
    }
    lines.join("\n")
}

#[test]
fn the_smallest_configuration_gets_the_documented_defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.source.port, 5432);
    assert_eq!(config.source.password, None);
    assert_eq!(config.source.tls, Tls::VerifyFull);
    assert_eq!(config.source.snapshot_max, Duration::from_secs(600));
    assert_eq!(config.source.postgres.slot, "bitacora");
    assert_eq!(config.source.postgres.publication, "bitacora");
    assert_eq!(config.source.sqlserver.poll_interval, Duration::from_secs(5));
    assert_eq!(config.source.sqlserver.mode, SqlserverMode::Capture);
    assert_eq!(config.tables[0].mapping.on_delete, OnDelete::Ignore);
    assert_eq!(config.tables[0].mapping.floor, earliest());
    assert_eq!(config.tables[0].mapping.zone, chrono_tz::America::Santo_Domingo);
    let two = NaiveTime::from_hms_opt(2, 0, 0).unwrap();
    assert_eq!(config.schedule.flushes.times(), &Times::At(vec![two]));
    assert_eq!(config.delivery.batch_size, 1000);
    assert_eq!(config.delivery.max_body, 100_000);
    assert_eq!(config.delivery.group_by, GroupBy::None);
    assert_eq!(config.delivery.timeout, Duration::from_secs(90));
    assert_eq!(config.delivery.retry.first, Duration::from_secs(2));
    assert_eq!(config.delivery.retry.cap, Duration::from_secs(300));
    assert_eq!(config.delivery.retry.give_up_after, Duration::from_secs(21_600));
    assert_eq!(config.delivery.timestamps, Precision::Micros);
    assert!(!config.delivery.tls_insecure);
    assert_eq!(config.backfill.window, None);
    assert_eq!(config.ledger.keep_days, 90);
    assert_eq!(config.ledger.max_size, None);
    assert_eq!(config.alerts.after_failures, 3);
    assert_eq!(config.status.listen, Some("127.0.0.1:9187".parse().unwrap()));
}

#[test]
fn every_key_of_the_interface_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("ca.pem"), certificate).unwrap();
    let config = parse_in(folder.path(), include_str!("tests/whole.toml"), Secrets::Needed).unwrap();
    assert_eq!(config.source.tls_ca.unwrap().path, folder.path().join("ca.pem"));
    assert_eq!(config.source.password, Some(Secret::new("s3cret")));
    assert_eq!(config.source.mysql.server_id, Some(4711));
    let own = &config.source.sqlserver;
    assert_eq!(own.capture_instance.as_deref(), Some("dbo_solicitudes"));
    assert_eq!((own.mode, own.overlap, own.read_only), (SqlserverMode::Poll, Duration::from_secs(120), true));
    assert_eq!(own.modified_column.as_deref(), Some("fecha_modificacion"));
    assert_eq!(own.time_zone, Some(chrono_tz::America::Santo_Domingo));
    let Field::Column { column, map: Some(map) } = config.tables[0].mapping.status_id.clone() else {
        panic!("a mapped column")
    };
    assert_eq!(column, "estado");
    assert_eq!(map.get("RECIBIDA").map(String::as_str), Some("9"));
    let zone = Some(chrono_tz::America::Santo_Domingo);
    assert_eq!(
        config.tables[0].mapping.opening_date,
        TimeField::Column { column: "fecha_apertura".into(), time_zone: zone }
    );
    assert_eq!(config.tables[0].mapping.on_delete, OnDelete::Report(10));
    assert_eq!(config.schedule.flushes.times(), &Times::Every(Duration::from_secs(5400)));
    assert_eq!(config.delivery.x_road_client.as_deref(), Some("DO/GOB/INSTITUCION/SUBSISTEMA"));
    let (name, value) = config.delivery.headers.first().unwrap();
    assert_eq!((name.as_str(), value.expose()), ("api-key", "k-123"));
    assert_eq!(config.delivery.group_by, GroupBy::Service);
    assert_eq!(config.backfill.rows_per_second, Some(5000));
    assert_eq!(config.ledger.dir, folder.path().join("ledger"));
    assert_eq!(config.ledger.max_size, Some(20 << 30));
    assert_eq!(config.alerts.behind_after, Duration::from_secs(1800));
    assert!(config.alerts.acknowledged_by.is_some());
    assert_eq!(config.alerts.repeat_every, Duration::from_secs(21_600));
    assert_eq!(config.alerts.language, ::alerts::Language::English);
    let email = config.alerts.email.unwrap();
    assert_eq!(email.to, ["a@example.org", "b@example.org"]);
    assert_eq!(email.tls_ca.unwrap().path, folder.path().join("ca.pem"));
    assert_eq!(config.status.listen, None);
    assert_eq!(config.status.token, Some(Secret::new("k-123-0123456789abc")));
}

#[test]
fn secrets_are_never_shown() {
    let text = with("source", "password = \"${PASSWORD}\"")
        .replace("[delivery]", "[delivery]\nheaders = { api-key = \"${KEY}\" }");
    let config = parse(&text).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("k-123"), "{shown}");
    assert!(shown.contains("[redacted]"));
}

#[test]
fn a_command_that_spares_secrets_reads_without_them() {
    let text = with("source", "password = \"${NOT_SET}\"");
    assert!(parse(&text).is_err());
    let config = parse_in(Path::new(""), &text, Secrets::Spared).unwrap();
    assert_eq!(config.source.password, Some(Secret::new("")));
}

#[test]
fn all_mistakes_are_told_at_once_by_line() {
    let message = mistakes(include_str!("tests/many_mistakes.toml"));
    insta::assert_snapshot!(message);
}

#[test]
fn an_empty_file_lacks_every_section() {
    let message = mistakes("");
    insta::assert_snapshot!(message);
}

#[test]
fn a_text_that_is_not_toml_is_told_with_its_line() {
    let message = mistakes("[source]\nengine = postgres\nhost = \"a\nport = 1\n");
    insta::assert_snapshot!(message);
}

#[test]
fn mistakes_in_the_source() {
    let messages = mistakes_with(&[
        ("source", "prot = 5432"),
        ("source", "slot = \"a\""),
        ("source", "colour = \"red\""),
        ("source", "port = \"5432\""),
        ("source", "port = 0"),
        ("source", "port = 70000"),
        ("source", "port = 54.32"),
        ("source", "engine = \"postgresql\""),
        ("source", "engine = \"MariaDB\""),
        ("source", "engine = \"oracle\""),
        ("source", "host = \"\""),
        ("source", "host = \"postgres://db1/tramites\""),
        ("source", "password = \"${MISSING_PASSWORD}\""),
        ("source", "password = \"${file:none.txt}\""),
        ("source", "password = \"${PASSWORD\""),
        ("source", "password = 1234"),
        ("source", "tls = \"verify_full\""),
        ("source", "tls = \"on\""),
        ("source", "tls = true"),
        ("source", "tls_ca = \"missing.pem\""),
        ("source", "snapshot_max = \"1h\""),
        ("source", "snapshot_max = \"ten minutes\""),
        ("source.postgres", "slot = \"Bitacora-1\""),
        ("source.postgres", "slto = \"bitacora\""),
        ("source.mysql", "server_id = 0"),
        ("source.sqlserver", "poll_interval = 5"),
        ("sources", "host = \"a\""),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn mistakes_in_the_mapping() {
    let messages = mistakes_with(&[
        ("mapping", "service_id = \"servicio\""),
        ("mapping", "service_id = { colum = \"servicio\" }"),
        ("mapping", "service_id = { column = \"servicio\", value = \"1\" }"),
        ("mapping", "service_id = { value = \"1\", map = { A = \"1\" } }"),
        ("mapping", "service_id = { column = \"servicio\", map = {} }"),
        ("mapping", "service_id = { column = \"servicio\", map = { A = 1.5 } }"),
        ("mapping", "request_id = { value = \"1\" }"),
        ("mapping", "request_id = { column = \"\" }"),
        ("mapping", "opening_date = { column = \"a\", time_zone = \"America/Santo_Domigno\" }"),
        ("mapping", "opening_date = { column = \"a\", time_zone = \"AST4\" }"),
        ("mapping", "opening_date = { commit_time = true }"),
        ("mapping", "opening_date = { value = \"yesterday\" }"),
        ("mapping", "last_modified_date = { commit_time = false }"),
        ("mapping", "last_modified_date = { commit_time = true, column = \"a\" }"),
        ("mapping", "status_id = { value = 22 }"),
        ("mapping", "status_id = { column = \"estado\", map = { NUEVA = 9, VIEJA = 0, RARA = \"x\" } }"),
        ("mapping", "on_delete = \"ignored\""),
        ("mapping", "on_delete = 22"),
        ("mapping", "on_delete = true"),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn fields_may_be_made_of_several_columns() {
    let field = |line: &str| parse(&with("mapping", line)).unwrap().tables.swap_remove(0).mapping;
    let template = field("request_id = { template = \"{anio}-{numero}\" }").request_id;
    assert_eq!(template, Field::Template("{anio}-{numero}".into()));
    let pair = field("status_id = { columns = [\"estado\", \"sub\"], map = { \"A|1\" = 9 }, other = 21 }");
    let Field::Mapped { columns, map, other } = pair.status_id else { panic!("a map of joined values") };
    assert_eq!(columns, ["estado", "sub"]);
    assert_eq!(map.get("A|1").map(String::as_str), Some("9"));
    assert_eq!(other.as_deref(), Some("21"));
}

#[test]
fn mistakes_in_fields_of_several_columns() {
    let messages = mistakes_with(&[
        ("mapping", "request_id = { template = \"{anio\" }"),
        ("mapping", "request_id = { template = \"SOL\" }"),
        ("mapping", "request_id = { template = \"{a}\", column = \"a\" }"),
        ("mapping", "request_id = { template = \"{a}\", map = { A = \"1\" } }"),
        ("mapping", "status_id = { template = \"{a}\" }"),
        ("mapping", "status_id = { columns = [\"a\", \"b\"] }"),
        ("mapping", "status_id = { columns = [\"a\"], map = { A = 1 } }"),
        ("mapping", "status_id = { columns = [\"a\", \"a\"], map = { \"A|B\" = 1 } }"),
        ("mapping", "status_id = { columns = \"a\", map = { A = 1 } }"),
        (
            "mapping",
            "status_id = { columns = [\"a\", \"b\"], map = { A = 1, 'B\\|' = 2, 'C\\D|' = 3, \"E|F\" = 99 } }",
        ),
        ("mapping", "status_id = { column = \"estado\", other = 21 }"),
        ("mapping", "status_id = { column = \"estado\", map = { A = 1 }, other = 22 }"),
        ("mapping", "service_id = { column = \"servicio\", map = { A = \"1\" }, other = \"\" }"),
        ("mapping", "opening_date = { columns = [\"a\", \"b\"] }"),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn a_condition_is_read_and_belongs_to_source_and_mapping() {
    let config = parse(&with("source", "where = \"tipo = 'TRAMITE' AND anio >= 2020\"")).unwrap();
    assert!(config.tables[0].mapping.condition.is_some());
}

#[test]
fn a_history_is_asked_for_in_the_source() {
    assert_eq!(parse(LEAST).unwrap().tables[0].mapping.rows, Rows::Requests);
    let text =
        with("source", "rows = \"history\"").replace("{ commit_time = true }", "{ column = \"fecha\" }");
    assert_eq!(parse(&text).unwrap().tables[0].mapping.rows, Rows::History);
    let messages = mistakes_with(&[("source", "rows = \"histroy\""), ("source", "rows = \"history\"")]);
    insta::assert_snapshot!(messages);
}

#[test]
fn mistakes_in_the_condition() {
    let messages = mistakes_with(&[
        ("source", "where = \"tipo LIKE 'T%'\""),
        ("source", "where = \"tipo = 'TRAMITE' AND\""),
        ("source", "where = 'tipo = \"TRAMITE\"'"),
        ("source", "where = \"\""),
        ("source", "where = \"\"\"\n  tipo = 'A'\n  AND lower(clase) = 'b'\"\"\""),
        ("source", "where = true"),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn mistakes_in_the_schedule() {
    let messages = mistakes_with(&[
        ("schedule", "flush_at = \"02:00\""),
        ("schedule", "flush_at = []"),
        ("schedule", "flush_at = [\"2:00\", \"24:00\", \"noon\"]"),
        ("schedule", "every = \"1h\""),
        ("schedule", "time_zone = \"Santo Domingo\""),
        ("schedule", "time_zone = \"Dominican Republic\""),
    ]);
    insta::assert_snapshot!(messages);
    let without = LEAST.replace("flush_at = [\"02:00\"]\n", "");
    let message = mistakes(&without);
    insta::assert_snapshot!("neither_time_nor_interval", message);
    let mut messages = String::new();
    for line in [
        "every = \"1h\"",
        "every = \"0s\"",
        "cron = \"0 2 * * *\"",
        "cron = \"0 25 * * *\"",
        "cron = \"daily\"",
    ] {
        let text = LEAST.replace("flush_at = [\"02:00\"]", line);
        let message = parse(&text).map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
        writeln!(messages, "{line}\n{message}").unwrap();
    }
    insta::assert_snapshot!("intervals_and_cron", messages);
}

#[test]
fn mistakes_in_the_delivery() {
    let messages = mistakes_with(&[
        ("delivery", "url = \"dashboard.example/api/load\""),
        ("delivery", "url = \"ftp://dashboard.example/\""),
        ("delivery", "url = \"https://me:secret@dashboard.example/\""),
        ("delivery", "x_road_client = \"INSTITUCION\""),
        ("delivery", "headers = { \"api key\" = \"a\" }"),
        ("delivery", "headers = { api-key = \"${TWO_LINES}\" }"),
        ("delivery", "headers = { api-key = \"${EMPTY}\" }"),
        ("delivery", "headers = { Content-Type = \"text/plain\", X-Road-Client = \"a\" }"),
        ("delivery", "batch_size = 1001"),
        ("delivery", "batch_size = 0"),
        ("delivery", "max_body = \"20MB\""),
        ("delivery", "max_body = 102400"),
        ("delivery", "group_by = \"services\""),
        ("delivery", "timeout = 90"),
        ("delivery", "retry = { first = \"10m\", cap = \"5m\" }"),
        ("delivery", "retry = { factor = 0.5 }"),
        ("delivery", "retry = { tries = 3 }"),
        ("delivery", "timestamps = \"ms\""),
        ("delivery", "tls_insecure = \"yes\""),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn mistakes_in_the_other_sections() {
    let messages = mistakes_with(&[
        ("backfill", "from = \"2019-12-31\""),
        ("backfill", "from = 2021-06-01"),
        ("backfill", "from = \"01/01/2020\""),
        ("backfill", "window = \"22-6\""),
        ("backfill", "window = \"22:00-22:00\""),
        ("backfill", "rows_per_second = 0"),
        ("ledger", "dir = \"\""),
        ("ledger", "keep_days = 0"),
        ("ledger", "max_size = \"20\""),
        ("ledger", "max_size = \"1MiB\""),
        ("alerts", "webhook = \"example.org\""),
        ("alerts", "email = { smtp = \"smtp://mail.example\", from = \"me\" }"),
        ("alerts", "acknowledged_by = \"6am\""),
        ("alerts", "language = \"fr\""),
        ("status", "listen = \"localhost\""),
        ("status", "listen = \"0.0.0.0:9187\""),
        ("status", "token = \"secret\""),
        ("status", "port = 9187"),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bitacora.toml");
    let missing = Config::load(&path, Secrets::Needed).unwrap_err();
    assert!(missing.to_string().starts_with("there is no configuration file"));
    assert!(missing.hint().contains("bitacora init"));
    std::fs::write(&path, b"[source]\nhost = \"\xff\"\n").unwrap();
    let binary = Config::load(&path, Secrets::Needed).unwrap_err().to_string();
    assert!(binary.contains("bitacora.toml:2: the text is not UTF-8"), "{binary}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    // Every prefix of a whole configuration is a text that somebody could have saved.
    let text = include_str!("tests/whole.toml");
    for (end, _) in text.char_indices() {
        let prefix = text.get(..end).unwrap();
        drop(parse(prefix));
    }
}

/// Two tables, the second joined to a third, without the sections after them.
const TABLES: &str = r#"
[[source.tables]]
table = "public.licencias"
[source.tables.mapping]
service_id = { value = "101" }
request_id = { column = "numero" }
opening_date = { column = "fecha" }
status_id = { column = "estado" }
last_modified_date = { commit_time = true }

[[source.tables]]
table = "public.historial"
rows = "history"
where = "anio >= 2020"
[[source.tables.join]]
table = "public.permisos"
on = { permiso_id = "id" }
columns = ["numero"]
[source.tables.mapping]
service_id = { value = "102" }
request_id = { column = "numero" }
opening_date = { column = "permisos.fecha" }
status_id = { column = "estado" }
last_modified_date = { column = "desde" }
"#;

/// The smallest configuration with [`TABLES`] in place of its table and mapping, and `change` made to it.
fn several(change: impl FnOnce(String) -> String) -> String {
    let (source, rest) = LEAST.split_once("table = \"public.solicitudes\"\n").unwrap();
    let (_, rest) = rest.split_once("[schedule]").unwrap();
    change(format!("{source}{TABLES}\n[schedule]{rest}"))
}

#[test]
fn several_tables_have_a_mapping_each() {
    let config = parse(&several(|text| text)).unwrap();
    let tables = normalizer::Tables::new(config.tables, config.schedule.zone).unwrap();
    let names: Vec<_> = tables.tables().iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["public.licencias", "public.permisos", "public.historial"]);
    let history = tables.table(2).unwrap();
    assert_eq!(history.columns, ["estado", "desde", "anio", "permiso_id"]);
    assert_eq!(tables.table(1).unwrap().columns, ["id", "numero", "fecha"]);
}

#[test]
fn a_join_beside_the_only_table_takes_part_in_the_mapping() {
    let join =
        "join = [{ table = \"public.personas\", on = { persona_id = \"id\" }, columns = [\"numero\"] }]\n";
    let text = LEAST.replace("\n[mapping]", &format!("{join}\n[mapping]"));
    assert_eq!(parse(&text).unwrap().tables[0].joins[0].table, "public.personas");
}

#[test]
fn what_several_tables_leave_unclear_is_told() {
    let told = |changes: &[(&str, &str)], expected: &[&str]| {
        let text = several(|text| {
            changes.iter().fold(text, |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            })
        });
        let mistakes = mistakes(&text);
        expected.iter().for_each(|part| assert!(mistakes.contains(part), "{part} is not in {mistakes}"));
    };
    let user = "user = \"bitacora\"\n";
    told(
        &[(user, "user = \"bitacora\"\ntable = \"t\"\n")],
        &["source.tables: there is `table` too", "a [[source.tables]] of its own"],
    );
    told(
        &[(user, "user = \"bitacora\"\nrows = \"history\"\n"), ("[schedule]", "[mapping]\n\n[schedule]")],
        &["source.rows: does not say which of the tables", "mapping: does not say which of the tables"],
    );
    told(
        &[("columns = [\"numero\"]", "columns = [\"cedula\"]"), ("permisos.fecha", "fecha")],
        &["source.tables[1].join[0].columns: the mapping names no column of table \"public.permisos\""],
    );
    told(&[("on = { permiso_id = \"id\" }", "on = {}")], &["source.tables[1].join[0].on: names no column"]);
    told(
        &[("public.licencias", "public.historial")],
        &["source.tables[1].mapping.table: table \"public.historial\" is configured twice"],
    );
}
