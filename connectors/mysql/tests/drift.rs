//! Logs that are older than the table's definition, or tell less of the rows than they should.

use std::time::{Duration, Instant};

use change::{ChangeStream, Checkpoint, SourceErrorKind};
use mysql_connector::{MysqlConfig, MysqlSource};
use testbed::mysql::{Options, Product, Server};

use crate::database::{Database, PRODUCTS, SOLICITUDES, scope, soon, until};
use crate::streaming::{after, begin, first_error, open, read};
use crate::way::Way;

fn insert(id: u32) -> String {
    format!("INSERT INTO solicitudes VALUES ({id}, 'a', '{id}', 'RECIBIDA', '2024-01-01', NULL)")
}

/// A server of its own with a setting.
async fn server(product: Product, settings: &[(&str, &str)]) -> Database {
    let options = settings
        .iter()
        .fold(Options::new(product).without_fsync(), |options, (name, value)| options.setting(name, value));
    Database::on(Box::leak(Box::new(Server::start(options).unwrap()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_older_than_the_definition_is_lost_where_it_names_no_columns() {
    for product in PRODUCTS {
        for change in [
            "ALTER TABLE solicitudes ADD COLUMN primera int FIRST",
            // As many columns of the same types, at other places.
            "ALTER TABLE solicitudes MODIFY numero varchar(20) NOT NULL AFTER id",
        ] {
            let database = Database::make(product).await;
            database.run(&[SOLICITUDES]).await;
            let source = database.source(&scope("solicitudes", &["id", "servicio", "numero"]));
            let checkpoint = begin(&source).await;
            database.run(&[&insert(1), change, "UPDATE solicitudes SET estado = 'APROBADA'"]).await;
            let error = soon("an error", first_error(&source, &checkpoint)).await;
            assert_eq!(error.kind(), SourceErrorKind::LostLog, "{product} {change}: {error}");
            assert!(error.to_string().contains("older than the table's definition"), "{error}");
            assert!(error.hint().unwrap().contains("binlog_row_metadata = FULL"), "{error}");
            // A copy begins behind the change, and nothing is in the way any more.
            let checkpoint = begin(&source).await;
            let mut stream = open(&source, &checkpoint).await;
            database.run(&["UPDATE solicitudes SET servicio = 'b'"]).await;
            assert_eq!(read(&mut stream, 1).await.changes, ["1|a|1>1|b|1"], "{product} {change}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_older_than_the_definition_goes_on_where_it_names_columns() {
    for product in PRODUCTS {
        let database = server(product, &[("binlog_row_metadata", "FULL")]).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&scope("solicitudes", &["id", "estado"]));
        let checkpoint = begin(&source).await;
        let update = "UPDATE solicitudes SET estado = 'APROBADA'";
        let changes = "ALTER TABLE solicitudes ADD COLUMN primera int FIRST, DROP COLUMN notas,
            MODIFY numero varchar(20) NOT NULL AFTER id";
        database.run(&[&insert(1), changes, update]).await;
        let mut stream = open(&source, &checkpoint).await;
        let told = read(&mut stream, 2).await;
        assert_eq!(told.changes, ["+1|RECIBIDA", "1|RECIBIDA>1|APROBADA"], "{product}");
        drop(stream);
        // What is mapped must be there, however much the log tells.
        database.run(&["ALTER TABLE solicitudes DROP COLUMN estado"]).await;
        let error = soon("an error", first_error(&source, &checkpoint)).await;
        assert_eq!(error.kind(), SourceErrorKind::Schema, "{product}: {error}");
        database.server.stop().unwrap();
    }
}

/// Names and character sets of the collations that a mapped text may have.
async fn collations(database: &Database) -> Vec<(String, String)> {
    let (name, table) = match database.server.product() {
        Product::MySql => ("collation_name", "collations"),
        Product::MariaDb => ("full_collation_name", "collation_character_set_applicability"),
    };
    let list = database
        .ask(&format!(
            "SELECT CAST(json_arrayagg(concat({name}, ' ', character_set_name)) AS CHAR) FROM information_schema.{table}
             WHERE character_set_name IN ('utf8mb4', 'utf8mb3', 'utf8', 'latin1', 'ascii')"
        ))
        .await
        .unwrap();
    let names = list.split('"').skip(1).step_by(2).filter_map(|pair| pair.split_once(' '));
    names.map(|(name, charset)| (name.to_owned(), charset.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_collation_of_the_server_reads_as_its_character_set_whatever_the_catalogue_says_later() {
    for product in PRODUCTS {
        let database = server(product, &[("binlog_row_metadata", "FULL")]).await;
        let all = collations(&database).await;
        assert!(all.len() > 100, "{product}: {}", all.len());
        for chunk in all.chunks(150) {
            let columns: Vec<String> = chunk
                .iter()
                .enumerate()
                .map(|(index, (name, charset))| {
                    format!("c{index} varchar(2) CHARACTER SET {charset} COLLATE {name}")
                })
                .collect();
            let letters: Vec<&str> =
                chunk.iter().map(|(_, charset)| if charset == "ascii" { "n" } else { "ñ" }).collect();
            let create = format!("CREATE TABLE textos (id int PRIMARY KEY, {})", columns.join(", "));
            database.run(&["DROP TABLE IF EXISTS textos", &create]).await;
            let names: Vec<String> = (0..chunk.len()).map(|index| format!("c{index}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let source = database.source(&scope("textos", &names));
            let checkpoint = begin(&source).await;
            let insert = format!("INSERT INTO textos VALUES (1, '{}')", letters.join("', '"));
            // The number in the log counts: read as latin1, the letters would be two.
            database.run(&[&insert, "ALTER TABLE textos CONVERT TO CHARACTER SET latin1"]).await;
            let mut stream = open(&source, &checkpoint).await;
            let told = read(&mut stream, 1).await;
            assert_eq!(told.changes, [format!("+{}", letters.join("|"))], "{product}");
        }
        database.server.stop().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_images_are_read_as_far_as_they_are_certain() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let few = database.source(&scope("solicitudes", &["id", "estado"]));
        let more = database.source(&scope("solicitudes", &["id", "estado", "apertura"]));
        let checkpoint = begin(&few).await;
        let update = "UPDATE solicitudes SET estado = 'APROBADA'";
        database
            .run(&[
                &insert(1),
                "SET SESSION binlog_row_image = NOBLOB",
                update,
                "SET SESSION binlog_row_image = MINIMAL",
                "UPDATE solicitudes SET estado = 'RECIBIDA'",
                "DELETE FROM solicitudes",
            ])
            .await;
        // A column that no image has is in doubt, and so is the whole row before.
        let told = read(&mut open(&few, &checkpoint).await, 4).await;
        assert_eq!(told.changes, ["+1|RECIBIDA", "1|RECIBIDA>1|APROBADA", "->1|RECIBIDA", "--"], "{product}");
        let error = soon("an error", first_error(&more, &checkpoint)).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog, "{product}: {error}");
        assert!(error.to_string().contains("`apertura`"), "{product}: {error}");
        assert!(error.hint().unwrap().contains("binlog_row_image"), "{product}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beside_partial_documents_are_read_whole() {
    let database = Database::make(Product::MySql).await;
    database
        .run(&[
            "CREATE TABLE solicitudes (id int PRIMARY KEY, uno json, estado varchar(9), dos json, fin varchar(9))",
            r#"INSERT INTO solicitudes VALUES (1, '{"a": 1, "b": "largo"}', 'x', '[1, 2, 3]', 'f'),
               (2, NULL, 'x', '{"c": [1]}', 'f')"#,
        ])
        .await;
    let source = database.source(&scope("solicitudes", &["id", "estado", "fin"]));
    let checkpoint = begin(&source).await;
    database
        .run(&[
            "SET SESSION binlog_row_value_options = PARTIAL_JSON",
            "UPDATE solicitudes SET uno = JSON_SET(uno, '$.a', 2), estado = 'y', dos = JSON_REPLACE(dos, '$[1]', 7)",
            "UPDATE solicitudes SET uno = '[]', estado = 'z', dos = JSON_SET(dos, '$.c', 1)",
            "UPDATE solicitudes SET fin = 'g'",
        ])
        .await;
    let mut stream = open(&source, &checkpoint).await;
    let told = read(&mut stream, 6).await;
    let expected = ["1|x|f>1|y|f", "2|x|f>2|y|f", "1|y|f>1|z|f", "2|y|f>2|z|f", "1|z|f>1|z|g", "2|z|f>2|z|g"];
    assert_eq!(told.changes, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_checksums_are_turned_off_and_on_is_read_on() {
    for product in PRODUCTS {
        let database = server(product, &[("binlog_checksum", "NONE")]).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&scope("solicitudes", &["id"]));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        database.run(&[&insert(1)]).await;
        let told = read(&mut stream, 1).await;
        assert_eq!(told.changes, ["+1"], "{product}");
        drop(stream);
        let on = "SET GLOBAL binlog_checksum = CRC32";
        database.run(&[on, &insert(2), "SET GLOBAL binlog_checksum = NONE", &insert(3), on]).await;
        let mut stream = open(&source, &after(&checkpoint, &told)).await;
        assert_eq!(read(&mut stream, 2).await.changes, ["+2", "+3"], "{product}");
        database.run(&[&insert(4)]).await;
        assert_eq!(read(&mut stream, 1).await.changes, ["+4"], "{product}");
        database.server.stop().unwrap();
    }
}

/// Lets `replica` follow `primary` from the beginning of its log.
async fn follow(replica: &Database, primary: &Database) {
    let (host, port, user, password) =
        (primary.server.host(), primary.server.port(), primary.server.superuser(), primary.server.password());
    let statements = match primary.server.product() {
        Product::MySql => [
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, SOURCE_USER = '{user}',
                 SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
            ),
            "START REPLICA".to_owned(),
        ],
        Product::MariaDb => [
            format!(
                "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = '{user}',
                 MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos"
            ),
            "START SLAVE".to_owned(),
        ],
    };
    replica.run(&statements.each_ref().map(String::as_str)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_goes_on_by_gtid_at_a_replica_that_took_over() {
    for product in PRODUCTS {
        let primary = server(product, &[("server_id", "11")]).await;
        let logging = if product == Product::MySql { "log_replica_updates" } else { "log_slave_updates" };
        let mut replica = server(product, &[("server_id", "12"), (logging, "ON")]).await;
        // It must have nothing that its primary has not.
        let reset = if product == Product::MySql { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
        replica.run(&[&format!("DROP DATABASE {}", replica.name)]).await;
        replica.name = "mysql".to_owned();
        replica.run(&[reset]).await;
        follow(&replica, &primary).await;
        primary.run(&[SOLICITUDES]).await;
        let scope = scope("solicitudes", &["id"]);
        let source = primary.source(&scope);
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        primary.run(&[&insert(1)]).await;
        let told = read(&mut stream, 1).await;
        drop(stream);
        primary.run(&[&insert(2)]).await;
        let count = format!("SELECT CAST(count(*) AS CHAR) FROM {}.solicitudes", primary.name);
        until("the replica", async || {
            let seen = format!(
                "SELECT CAST(count(*) AS CHAR) FROM information_schema.tables WHERE table_schema = '{}'",
                primary.name
            );
            replica.ask(&seen).await.as_deref() == Some("1")
                && replica.ask(&count).await.as_deref() == Some("2")
        })
        .await;
        primary.server.stop().unwrap();
        replica.name.clone_from(&primary.name);
        let source = MysqlSource::new(replica.config(), scope.clone());
        let mut stream = open(&source, &after(&checkpoint, &told)).await;
        replica.run(&[&insert(3)]).await;
        assert_eq!(read(&mut stream, 2).await.changes, ["+2", "+3"], "{product}");
        drop(stream);
        // What only the old primary had is nowhere else.
        let ahead = Checkpoint { position: beyond(product, &checkpoint), server: checkpoint.server.clone() };
        let error = soon("an error", first_error(&source, &ahead)).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog, "{product}: {error}");
        replica.server.stop().unwrap();
    }
}

/// The checkpoint's position with many more transactions of the same server.
fn beyond(product: Product, checkpoint: &Checkpoint) -> change::Position {
    let text = checkpoint.position.as_str();
    let split = match product {
        Product::MySql => text.rfind(['-', ':']),
        Product::MariaDb => text.rfind('-'),
    };
    change::Position::new(format!("{}-999999", text.split_at(split.unwrap()).0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_given_up() {
    // It takes its time: one product beside the other.
    let [one, other] = PRODUCTS.map(|product| tokio::spawn(give_up(product)));
    one.await.unwrap();
    other.await.unwrap();
}

async fn give_up(product: Product) {
    let database = Database::make(product).await;
    database.run(&[SOLICITUDES]).await;
    let way = Way::to(database.server.host(), database.server.port()).await;
    let config = MysqlConfig { port: way.port(), ..database.config() };
    let source = MysqlSource::new(config, scope("solicitudes", &["id"]));
    let checkpoint = begin(&source).await;
    let mut stream = open(&source, &checkpoint).await;
    database.run(&[&insert(1)]).await;
    read(&mut stream, 1).await;
    let blocked_at = Instant::now();
    way.block();
    let error = loop {
        if let Err(error) = soon("an end", stream.next()).await {
            break error;
        }
    };
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{product}: {error}");
    assert!(error.to_string().contains("silent"), "{product}: {error}");
    // Several heartbeats may be late.
    assert!(blocked_at.elapsed() >= Duration::from_secs(20), "{product}: {:?}", blocked_at.elapsed());
}
