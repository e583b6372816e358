//! What `check` finds, and that what it prints really mends it.

use change::{Beginning, Inspection, Severity, Source, SourceErrorKind, TableScope};
use mysql_connector::MysqlSource;
use testbed::mysql::{Options, Product, Server};

use crate::database::{Database, PRODUCTS, SOLICITUDES, errors, finding, inspect, scope, solicitudes, text};

fn start(options: Options) -> &'static Server {
    Box::leak(Box::new(Server::start(options).unwrap_or_else(|error| panic!("{error}"))))
}

fn severity(found: &Inspection, code: &str) -> Severity {
    finding(found, code).severity
}

/// Runs what mends a finding, statement by statement.
async fn mend(database: &Database, found: &Inspection, code: &str) {
    let mend = finding(found, code).mend.clone().unwrap_or_else(|| panic!("{code} has no mend"));
    let statements: Vec<&str> = mend.split("; ").collect();
    database.run(&statements).await;
}

#[tokio::test]
async fn a_server_as_it_should_be_has_no_error() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&[
                SOLICITUDES,
                "INSERT INTO solicitudes VALUES (1, 'LIC', 'Ñ-1', 'APROBADA', '2024-05-01', NULL)",
            ])
            .await;
        let found = inspect(&database.config(), &solicitudes()).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
        let sample: Vec<String> = found.samples.iter().flatten().map(text).collect();
        assert_eq!(sample, ["LIC|Ñ-1|APROBADA|Date(19844)"]);
    }
}

#[tokio::test]
async fn every_setting_that_is_wrong_is_told_and_its_statement_mends_it() {
    for product in PRODUCTS {
        let server = start(Options::new(product));
        let database = Database::on(server).await;
        database.run(&[SOLICITUDES]).await;
        for (setting, wrong, code, expected) in [
            ("binlog_format", "'STATEMENT'", "binlog_format", Severity::Error),
            ("binlog_format", "'MIXED'", "binlog_format", Severity::Error),
            ("binlog_row_image", "'MINIMAL'", "binlog_row_image", Severity::Error),
            ("binlog_row_metadata", "'MINIMAL'", "binlog_row_metadata", Severity::Warning),
            ("binlog_checksum", "'NONE'", "binlog_checksum", Severity::Warning),
            ("sync_binlog", "0", "sync_binlog", Severity::Warning),
            ("binlog_expire_logs_seconds", "3600", "log_retention", Severity::Error),
            ("binlog_expire_logs_seconds", "432000", "log_retention", Severity::Warning),
        ] {
            database.run(&[&format!("SET GLOBAL {setting} = {wrong}")]).await;
            let found = inspect(&database.config(), &solicitudes()).await;
            assert_eq!(severity(&found, code), expected, "{product} {setting} = {wrong}");
            mend(&database, &found, code).await;
            let found = inspect(&database.config(), &solicitudes()).await;
            assert_eq!(
                severity(&found, code),
                Severity::Pass,
                "{product} {setting}: {:?}",
                finding(&found, code)
            );
        }
        server.stop().unwrap();
    }
}

#[tokio::test]
async fn an_image_without_blobs_will_do_where_none_is_mapped() {
    for product in PRODUCTS {
        let server = start(Options::new(product).without_fsync().setting("binlog_row_image", "NOBLOB"));
        let database = Database::on(server).await;
        database.run(&[SOLICITUDES]).await;
        let found = inspect(&database.config(), &solicitudes()).await;
        assert_eq!(severity(&found, "binlog_row_image"), Severity::Pass);
        let found = inspect(&database.config(), &scope("solicitudes", &["numero", "notas"])).await;
        assert_eq!(severity(&found, "binlog_row_image"), Severity::Error);
        server.stop().unwrap();
    }
}

#[tokio::test]
async fn gtids_that_are_off_are_turned_on_by_what_is_printed() {
    let server = start(Options::new(Product::MySql).without_fsync().without_gtid());
    let database = Database::on(server).await;
    database.run(&[SOLICITUDES]).await;
    let found = inspect(&database.config(), &solicitudes()).await;
    assert_eq!(severity(&found, "gtid_mode"), Severity::Warning);
    mend(&database, &found, "gtid_mode").await;
    let found = inspect(&database.config(), &solicitudes()).await;
    assert_eq!(severity(&found, "gtid_mode"), Severity::Pass);
    server.stop().unwrap();
}

#[tokio::test]
async fn a_server_without_a_log_is_told_how_to_write_one() {
    for product in PRODUCTS {
        let server = start(Options::new(product).without_fsync());
        let database = Database::on(server).await;
        database.run(&[SOLICITUDES]).await;
        server.set_on_restart(&[("skip_log_bin", "1")]).unwrap();
        server.restart().unwrap();
        let found = inspect(&database.config(), &solicitudes()).await;
        let log = finding(&found, "log_bin");
        if log.severity == Severity::Error {
            assert!(log.mend.as_ref().unwrap().contains("log_bin = binlog; then restart"), "{log:?}");
        } else {
            panic!("{product}: {log:?}");
        }
        server.stop().unwrap();
    }
}

#[tokio::test]
async fn a_database_that_is_not_logged_is_told() {
    for product in PRODUCTS {
        let options = Options::new(product).without_fsync();
        for (setting, names) in [("binlog_do_db", "otra"), ("binlog_ignore_db", "callada")] {
            let server = start(options.clone().setting(setting, names));
            server.create_database("callada").await.unwrap();
            let database = Database { server, name: "callada".to_owned() };
            database.run(&[SOLICITUDES]).await;
            let found = inspect(&database.config(), &solicitudes()).await;
            let filter = finding(&found, "binlog_filter");
            assert!(
                filter.severity == Severity::Error && filter.what.contains(names),
                "{product}: {filter:?}"
            );
            server.stop().unwrap();
        }
    }
}

#[tokio::test]
async fn columns_that_no_record_can_carry_are_told_and_mended() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&["CREATE TABLE raras (id int PRIMARY KEY, a double, b bit(8) NOT NULL, c varchar(20) CHARACTER SET \
                    sjis, d json, e geometry, f binary(16), g blob)"])
            .await;
        let found = inspect(&database.config(), &scope("raras", &["a", "b", "c", "d", "e", "f", "g"])).await;
        let told: Vec<_> = found.findings.iter().filter(|finding| finding.code == "column_type").collect();
        // JSON is a text in MariaDB.
        let expected = if product == Product::MySql { 7 } else { 6 };
        assert_eq!(told.len(), expected, "{product}: {told:#?}");
        assert!(found.samples.iter().all(Vec::is_empty));
        for mend in told.iter().filter_map(|finding| finding.mend.as_ref()) {
            if let Some(statement) = mend.strip_prefix("ALTER") {
                let statement = statement.split("; then").next().unwrap();
                database.run(&[&format!("ALTER{statement}")]).await;
            }
        }
        let found = inspect(&database.config(), &scope("raras", &["a", "b", "c", "f_hex", "g_hex"])).await;
        assert_eq!(
            severity(&found, "column_type"),
            Severity::Pass,
            "{product}: {:?}",
            finding(&found, "column_type")
        );
    }
}

#[tokio::test]
async fn tables_that_are_not_as_they_should_be_are_told() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&[
                SOLICITUDES,
                "CREATE VIEW vista AS SELECT * FROM solicitudes",
                "CREATE TABLE sueltas (a int) ENGINE = MyISAM",
                "CREATE TABLE `con.punto` (`Número` varchar(20) PRIMARY KEY, `a``b` int) CHARACTER SET utf8mb4",
            ])
            .await;
        let config = database.config();
        let absent = inspect(&config, &scope("Solicitudes", &["numero"])).await;
        assert!(finding(&absent, "table").mend.as_ref().unwrap().contains("did you mean \"solicitudes\"?"));
        let missing = inspect(&config, &scope("solicitudes", &["Numero", "estado"])).await;
        assert!(finding(&missing, "columns").mend.as_ref().unwrap().contains("did you mean \"numero\""));
        let view = inspect(&config, &scope("vista", &["numero"])).await;
        assert!(finding(&view, "table").what.contains("a view"));
        let quoted = inspect(&config, &scope("\"con.punto\"", &["Número", "a`b"])).await;
        assert!(errors(&quoted).is_empty(), "{:#?}", errors(&quoted));

        let loose = inspect(&config, &scope("sueltas", &["a"])).await;
        assert_eq!(severity(&loose, "key"), Severity::Warning);
        assert_eq!(severity(&loose, "engine"), Severity::Warning);
        mend(&database, &loose, "engine").await;
        let mended = inspect(&config, &scope("sueltas", &["a"])).await;
        assert_eq!(severity(&mended, "engine"), Severity::Pass);
    }
}

#[tokio::test]
async fn a_foreign_key_that_changes_mapped_columns_is_told_where_the_log_does_not() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&[
                "CREATE TABLE estados (id int PRIMARY KEY)",
                "CREATE TABLE hijas (id int PRIMARY KEY, estado int, \
                 FOREIGN KEY (estado) REFERENCES estados (id) ON DELETE SET NULL ON UPDATE CASCADE)",
            ])
            .await;
        let found = inspect(&database.config(), &scope("hijas", &["id", "estado"])).await;
        let told = severity(&found, "foreign_key");
        database.run(&["INSERT INTO estados VALUES (1)", "INSERT INTO hijas VALUES (1, 1)"]).await;
        let (file, from) = database.log_end().await;
        database.run(&["DELETE FROM estados"]).await;
        let is_logged = database.rows_logged("hijas", &file, (from, u64::MAX)).await > 0;
        assert_eq!(told, if is_logged { Severity::Pass } else { Severity::Warning }, "{product}");
        let unmapped = inspect(&database.config(), &scope("hijas", &["id"])).await;
        assert_eq!(severity(&unmapped, "foreign_key"), Severity::Pass);
    }
}

#[tokio::test]
async fn a_user_that_may_too_little_is_told_which_rights_it_lacks_and_they_are_enough() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let few = format!("SELECT (servicio, numero) ON `{}`.solicitudes", database.name);
        let config = database.user(&[&few]).await;
        let found = inspect(&config, &scope("solicitudes", &["numero"])).await;
        let codes: Vec<&str> = errors(&found).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["replication_right", "replication_right", "definition"], "{product}");
        for code in ["replication_right", "definition"] {
            mend(&database, &found, code).await;
        }
        if product == Product::MySql {
            assert_eq!(severity(&found, "lock_right"), Severity::Warning);
            mend(&database, &found, "lock_right").await;
        }
        let found = inspect(&config, &scope("solicitudes", &["numero"])).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
        assert_eq!(severity(&found, "lock_right"), Severity::Pass);
    }
}

#[tokio::test]
async fn rights_that_come_by_a_role_count() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let config = database.user(&[]).await;
        let (name, role) = (&database.name, format!("rol_{}", database.name));
        database
            .run(&[
                &format!("CREATE ROLE {role}"),
                &format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {role}"),
                &format!("GRANT SELECT, LOCK TABLES ON `{name}`.* TO {role}"),
                &format!("GRANT {role} TO `{name}`@`%`"),
                &match product {
                    Product::MySql => format!("SET DEFAULT ROLE {role} TO `{name}`@`%`"),
                    Product::MariaDb => format!("SET DEFAULT ROLE {role} FOR `{name}`@`%`"),
                },
            ])
            .await;
        let found = inspect(&config, &solicitudes()).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
        assert_eq!(severity(&found, "lock_right"), Severity::Pass);
    }
}

#[tokio::test]
async fn a_replica_that_does_not_log_what_it_replicates_is_told() {
    for product in PRODUCTS {
        let server = start(Options::new(product).without_fsync().setting("log_slave_updates", "OFF"));
        let database = Database::on(server).await;
        database.run(&[SOLICITUDES]).await;
        let source = match product {
            Product::MySql => "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1",
            Product::MariaDb => "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1",
        };
        database.run(&[source]).await;
        let found = inspect(&database.config(), &solicitudes()).await;
        let replica = finding(&found, "replica");
        assert_eq!(replica.severity, Severity::Error, "{product}: {replica:?}");
        assert!(found.findings.iter().any(|finding| finding.what.contains("stands still")), "{product}");
        server.stop().unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_is_the_only_finding() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        let found = inspect(&database.config_of("nadie", "x"), &solicitudes()).await;
        assert_eq!(found.findings.len(), 1, "{:#?}", found.findings);
        assert_eq!(severity(&found, "connection"), Severity::Error);
    }
}

#[tokio::test]
async fn a_parent_of_which_a_row_could_have_two_is_refused_until_its_key_is_unique() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&[
                "CREATE TABLE padres (id int PRIMARY KEY, numero varchar(40) NOT NULL, region varchar(9), \
                    UNIQUE (region, numero))",
            ])
            .await;
        let scope = TableScope {
            parent_keys: vec![vec!["id".to_owned()], vec!["numero".to_owned()]],
            apart_by: Vec::new(),
            ..scope("padres", &["id", "numero", "region"])
        };
        let source = MysqlSource::new(database.config(), scope.clone());
        let found = inspect(&database.config(), &scope).await;
        assert_eq!(severity(&found, "parent_key"), Severity::Error, "{product}");
        let error = source.begin(&Beginning::Present).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
        mend(&database, &found, "parent_key").await;
        let found = inspect(&database.config(), &scope).await;
        assert_eq!(severity(&found, "parent_key"), Severity::Pass, "{product}");
        drop(source.begin(&Beginning::Present).await.unwrap());
    }
}
