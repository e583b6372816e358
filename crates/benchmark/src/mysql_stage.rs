//! A MySQL or MariaDB server, the table and the backlogs.

use testbed::mysql::prelude::Queryable;
use testbed::mysql::{self, Conn, Product, Server};

use crate::Failure;
use crate::stage::{Backlog, DATABASE};

/// The table of the measurements: 12 columns, about 330 bytes a row.
const TABLE: &str = "
    CREATE TABLE solicitudes (
        id                 bigint PRIMARY KEY,
        numero             varchar(40) NOT NULL,
        servicio           varchar(20) NOT NULL,
        estado             varchar(20) NOT NULL,
        fecha_apertura     datetime NOT NULL,
        fecha_modificacion datetime NOT NULL,
        solicitante        varchar(200) NOT NULL,
        direccion          varchar(200) NOT NULL,
        correo             varchar(100) NOT NULL,
        monto              decimal(12,2) NOT NULL,
        pagada             boolean NOT NULL,
        observaciones      text NOT NULL
    ) ENGINE = InnoDB CHARACTER SET utf8mb4";

const UPDATE: &str = "
    UPDATE solicitudes
       SET estado = CASE estado WHEN 'RECIBIDA' THEN 'APROBADA' ELSE 'RECIBIDA' END,
           fecha_modificacion = fecha_modificacion + INTERVAL 1 MINUTE";

/// A server with the table on it.
pub(crate) struct MysqlStage {
    pub(crate) server: Server,
    client: Conn,
}

impl MysqlStage {
    /// Brings a server up and fills the table.
    pub(crate) async fn set(product: Product, rows: u32) -> Result<Self, Failure> {
        let redo = match product {
            Product::MySql => "innodb_redo_log_capacity",
            Product::MariaDb => "innodb_log_file_size",
        };
        let options = mysql::Options::new(product)
            .without_fsync()
            .setting("innodb_buffer_pool_size", "1G")
            .setting("max_allowed_packet", "1G")
            .setting(redo, "2G");
        let server = Server::start(options)?;
        server.create_database(DATABASE).await?;
        let mut client = server.connect(DATABASE).await?;
        client.query_drop(TABLE).await?;
        client.query_drop(fill(rows)).await?;
        client.query_drop("ANALYZE TABLE solicitudes").await?;
        client.query_drop(procedure()).await?;
        Ok(Self { server, client })
    }

    /// The connector's `[source]`.
    pub(crate) fn source(&self) -> String {
        let server = &self.server;
        format!(
            r#"
[source]
engine = "mysql"
host = "{host}"
port = {port}
database = "{DATABASE}"
user = "{user}"
password = "{password}"
table = "solicitudes"
tls = "disable"

[source.mysql]
server_id = 4711
"#,
            host = server.host(),
            port = server.port(),
            user = server.superuser(),
            password = server.password(),
        )
    }

    /// Makes a backlog that begins with a new file of the log; returns that file's name.
    pub(crate) async fn make_backlog(&mut self, backlog: Backlog) -> Result<String, Failure> {
        self.client.query_drop("FLUSH BINARY LOGS").await?;
        let logs: Vec<mysql_async::Row> = self.client.query("SHOW BINARY LOGS").await?;
        let last = logs.into_iter().next_back().and_then(|mut row| row.take::<String, _>(0));
        let first = last.ok_or("the server has no binary log")?;
        let call = match backlog {
            Backlog::Large(updates) => format!("CALL churn({updates}, 1000)"),
            Backlog::Single(updates) => format!("CALL churn({updates}, 1)"),
            Backlog::OneTransaction(updates) => format!("{UPDATE} WHERE id <= {updates}"),
        };
        self.client.query_drop(call).await?;
        Ok(first)
    }

    /// Alters three rows and adds one, unseen by the log.
    pub(crate) async fn alter_four_unseen(&mut self) -> Result<(), Failure> {
        let insert = "INSERT INTO solicitudes SELECT 0, 'SOL-NUEVA', servicio, estado, fecha_apertura, \
                      fecha_modificacion, solicitante, direccion, correo, monto, pagada, observaciones \
                      FROM solicitudes WHERE id = 50";
        let alter = format!("{UPDATE} WHERE id IN (5, 500, 5000)");
        for sql in ["SET SESSION sql_log_bin = 0", &alter, insert, "SET SESSION sql_log_bin = 1"] {
            self.client.query_drop(sql).await?;
        }
        Ok(())
    }

    /// Lets the server compress the transactions to come, where it can.
    pub(crate) async fn compress(&mut self) -> Result<(), Failure> {
        Ok(self.client.query_drop("SET SESSION binlog_transaction_compression = ON").await?)
    }
}

fn fill(rows: u32) -> String {
    let digits: Vec<String> = (0..10).map(|digit| format!("SELECT {digit} AS n")).collect();
    format!(
        "INSERT INTO solicitudes
         WITH d AS ({}), many AS (
             SELECT 1 + a.n + 10 * b.n + 100 * c.n + 1000 * e.n + 10000 * f.n + 100000 * g.n + 1000000 * h.n AS i
             FROM d a, d b, d c, d e, d f, d g, d h)
         SELECT i, CONCAT('SOL-', LPAD(i, 9, '0')), CONCAT('LIC-', i % 7), 'RECIBIDA',
                TIMESTAMP('2020-01-01') + INTERVAL i % 2400 DAY + INTERVAL i % 86400 SECOND,
                TIMESTAMP('2026-10-01') + INTERVAL i % 86400 SECOND,
                CONCAT('Solicitante ', LEFT(SHA2(i, 256), 32)),
                CONCAT('Calle ', LEFT(SHA2(i * 3, 256), 32), ' ', LEFT(SHA2(i * 5, 256), 32)),
                CONCAT('correo', i, '@ejemplo.do'), (i % 100000) / 100, i % 2 = 0, LEFT(SHA2(i * 7, 256), 32)
         FROM many WHERE i <= {rows} ORDER BY i",
        digits.join(" UNION ALL ")
    )
}

/// Each statement within it commits by itself.
fn procedure() -> String {
    format!(
        "CREATE PROCEDURE churn(updates int, size int)
         BEGIN
             DECLARE base int DEFAULT 1;
             WHILE base <= updates DO
                 {UPDATE} WHERE id BETWEEN base AND base + size - 1;
                 SET base = base + size;
             END WHILE;
         END"
    )
}
