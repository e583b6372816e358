//! The institution's database, of whichever engine.

use std::path::Path;
use std::process::Command;

use chrono::NaiveDateTime;
use testbed::mysql::prelude::Queryable;
use testbed::{mysql, postgres, sqlserver};

use crate::failure::Failure;
use crate::options::Engine;

/// The name of the institution's database.
pub(crate) const DATABASE: &str = "tramites";

/// A moment as all engines write it, to the microsecond.
const MOMENT: &str = "%Y-%m-%d %H:%M:%S%.6f";

/// A server that the demonstration brought up.
pub(crate) enum Server {
    Postgres(Box<postgres::Server>),
    Mysql(Box<mysql::Server>),
    StandIn(Box<sqlserver::StandIn>),
}

impl Server {
    /// Starts one and makes the database. It is a real server, disk flushes included; for SQL Server, the stand-in.
    ///
    /// # Errors
    /// What the testbed says.
    pub(crate) async fn start(engine: Engine) -> Result<Server, Failure> {
        match engine {
            Engine::Postgres(version) => {
                // Its log can never fill its disk: `bitacora check` asks for that.
                let options = postgres::Options::new(version).setting("max_slot_wal_keep_size", "8GB");
                let server = postgres::Server::start(options)?;
                server.create_database(DATABASE).await?;
                Ok(Server::Postgres(Box::new(server)))
            }
            Engine::Mysql(product) => {
                // Names in the log: `bitacora check` recommends them.
                let options = mysql::Options::new(product).setting("binlog_row_metadata", "FULL");
                let server = mysql::Server::start(options.setting("binlog_row_image", "FULL"))?;
                server.create_database(DATABASE).await?;
                Ok(Server::Mysql(Box::new(server)))
            }
            Engine::SqlServer => {
                // The stand-in's program is this one, run again.
                let program = std::env::current_exe().map_err(Failure::of("find this program's own file"))?;
                let server = sqlserver::StandIn::start(&program, sqlserver::Options::default())?;
                server.address().create_database(DATABASE).await?;
                Ok(Server::StandIn(Box::new(server)))
            }
        }
    }

    /// Product and version.
    pub(crate) fn title(&self) -> String {
        match self {
            Server::Postgres(server) => format!("PostgreSQL {}", server.major()),
            Server::Mysql(server) => {
                let (major, minor, patch) = server.version();
                format!("{} {major}.{minor}.{patch}", server.product())
            }
            Server::StandIn(_) => "A stand-in for SQL Server 2022".to_owned(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> (&str, u16) {
        match self {
            Server::Postgres(server) => (server.host(), server.port()),
            Server::Mysql(server) => (server.host(), server.port()),
            Server::StandIn(server) => (&server.address().host, server.address().port),
        }
    }

    /// The administrator's address of the database.
    pub(crate) fn url(&self) -> String {
        match self {
            Server::Postgres(server) => server.url(DATABASE),
            Server::Mysql(server) => server.url(DATABASE),
            Server::StandIn(server) => format!("{}/{DATABASE}", server.address().url()),
        }
    }

    /// The engine and the table as the configuration names them.
    pub(crate) fn engine_and_table(&self) -> (&'static str, &'static str) {
        match self {
            Server::Postgres(_) => ("postgres", "public.solicitudes"),
            Server::Mysql(_) => ("mysql", "solicitudes"),
            Server::StandIn(_) => ("sqlserver", "dbo.solicitudes"),
        }
    }

    /// The statements that make the institution's tables.
    pub(crate) fn schema(&self) -> &'static str {
        match self {
            Server::Postgres(_) => include_str!("schema.sql"),
            Server::Mysql(_) => include_str!("schema-mysql.sql"),
            Server::StandIn(_) => include_str!("schema-sqlserver.sql"),
        }
    }

    /// The administrator's connection.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn connect(&self) -> Result<Session, Failure> {
        Ok(match self {
            Server::Postgres(server) => Session::Postgres(server.connect(DATABASE).await?),
            Server::Mysql(server) => Session::Mysql(Box::new(server.connect(DATABASE).await?)),
            Server::StandIn(server) => {
                Session::SqlServer(Box::new(server.address().connect(DATABASE).await?))
            }
        })
    }

    /// Runs a file as the administrator does, with the server's own client where there is one.
    ///
    /// # Errors
    /// What the client complained about.
    pub(crate) async fn run_script(&self, path: &Path) -> Result<(), Failure> {
        let mut client: Command = match self {
            Server::Postgres(server) => {
                let mut psql = server.program("psql");
                psql.args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", DATABASE]);
                psql
            }
            Server::Mysql(server) => {
                let mut client = server.program(server.product().client_program());
                client.arg(DATABASE);
                client
            }
            Server::StandIn(server) => {
                let script = std::fs::read_to_string(path).map_err(Failure::of("read the script"))?;
                server.address().run(DATABASE, &script).await?;
                // The capture begins before a person could type the next command.
                return Ok(server.address().run(DATABASE, "EXEC sys.sp_cdc_scan").await?);
            }
        };
        let script = std::fs::File::open(path).map_err(Failure::of("open the script"))?;
        let ran = client.stdin(script).output().map_err(Failure::of("run the database's client"))?;
        if ran.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&ran.stderr);
        Err(Failure::new(format!("the database refused what `bitacora setup` printed: {errors}")))
    }
}

/// One connection.
pub(crate) enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(Box<mysql::Conn>),
    SqlServer(Box<sqlserver::Client>),
}

impl Session {
    /// Runs statements.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        match self {
            Session::Postgres(client) => client.batch_execute(sql).await?,
            Session::Mysql(client) => client.query_drop(sql).await?,
            Session::SqlServer(client) => {
                client.simple_query(transact(sql)).await?.into_results().await?;
            }
        }
        Ok(())
    }

    /// Lets the server find out how large the table is.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn analyze(&mut self) -> Result<(), Failure> {
        let sql = match self {
            Session::Postgres(_) => "ANALYZE solicitudes",
            Session::Mysql(_) => "ANALYZE TABLE solicitudes",
            // It counts the rows itself, all the time.
            Session::SqlServer(_) => return Ok(()),
        };
        self.run(sql).await
    }

    /// Rows of a query whose columns are all texts.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        match self {
            Session::Postgres(client) => {
                let rows = client.query(sql, &[]).await?;
                Ok(rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect())
            }
            Session::Mysql(client) => {
                let rows: Vec<mysql_async::Row> = client.query(sql).await?;
                let texts = |mut row: mysql_async::Row| {
                    (0..row.len()).map(|at| row.take(at).unwrap_or_default()).collect()
                };
                Ok(rows.into_iter().map(texts).collect())
            }
            Session::SqlServer(client) => {
                let rows = client.simple_query(sql).await?.into_first_result().await?;
                let text = |row: &sqlserver::Row, at| row.get::<&str, _>(at).unwrap_or_default().to_owned();
                Ok(rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect())
            }
        }
    }

    /// The requests as the table has them, by number: number, status, opening, modification.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn requests(&mut self) -> Result<Vec<Vec<String>>, Failure> {
        let sql = match self {
            Session::Postgres(_) => {
                "SELECT numero, estado, to_char(fecha_apertura, 'YYYY-MM-DD HH24:MI:SS.US'), \
                 to_char(fecha_modificacion, 'YYYY-MM-DD HH24:MI:SS.US') FROM solicitudes ORDER BY numero COLLATE \"C\""
            }
            Session::Mysql(_) => {
                "SELECT numero, estado, DATE_FORMAT(fecha_apertura, '%Y-%m-%d %H:%i:%s.%f'), \
                 DATE_FORMAT(fecha_modificacion, '%Y-%m-%d %H:%i:%s.%f') FROM solicitudes ORDER BY BINARY numero"
            }
            Session::SqlServer(_) => {
                "SELECT numero, estado, CONVERT(varchar(26), fecha_apertura, 121), \
                 CONVERT(varchar(26), fecha_modificacion, 121) FROM solicitudes"
            }
        };
        let mut rows = self.texts(sql).await?;
        if matches!(self, Session::SqlServer(_)) {
            // Its own order of texts is that of a language.
            rows.sort();
        }
        Ok(rows)
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// What the server says, and an answer without a place.
    pub(crate) async fn log_end(&mut self) -> Result<LogPlace, Failure> {
        let text = match self {
            Session::Postgres(client) => {
                client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0)
            }
            Session::Mysql(client) => {
                let newer = client.query_first::<mysql_async::Row, _>("SHOW BINARY LOG STATUS").await;
                let row = match newer {
                    Ok(row) => row,
                    Err(_) => client.query_first("SHOW MASTER STATUS").await?,
                };
                let place = row.and_then(|mut row| Some((row.take::<String, _>(0)?, row.take::<u64, _>(1)?)));
                place.map(|(file, offset)| format!("{file}:{offset}")).unwrap_or_default()
            }
            Session::SqlServer(client) => {
                // What is captured by then is all that there was.
                let sql = "EXEC sys.sp_cdc_scan; SELECT CONVERT(varchar(30), sys.fn_cdc_get_max_lsn(), 1)";
                let row = client.simple_query(sql).await?.into_row().await?;
                row.and_then(|row| row.get::<&str, _>(0).map(str::to_owned)).unwrap_or_default()
            }
        };
        LogPlace::read(&text).ok_or_else(|| Failure::new(format!("the log ends at no known place: {text:?}")))
    }
}

/// A place in the log; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPlace {
    file: u64,
    offset: u64,
}

impl LogPlace {
    /// Reads `0/16B3748` of [PostgreSQL](https://www.postgresql.org/docs/current/datatype-pg-lsn.html), or the
    /// `binlog.000007:1234` that MySQL's and MariaDB's positions begin with, or SQL Server's `0x` and 20 digits.
    pub(crate) fn read(position: &str) -> Option<LogPlace> {
        if let Some((file, offset)) =
            position.strip_prefix("0x").and_then(|digits| digits.split_at_checked(8))
        {
            let number = |digits| u64::from_str_radix(digits, 16).ok();
            return Some(LogPlace { file: number(file)?, offset: number(offset)? });
        }
        if let Some((high, low)) = position.split_once('/') {
            let (high, low) = (u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?);
            return Some(LogPlace { file: 0, offset: high << 32 | low });
        }
        let place = position.split(' ').next()?;
        let (file, offset) = place.rsplit_once(':')?;
        let (_, number) = file.rsplit_once('.')?;
        Some(LogPlace { file: number.parse().ok()?, offset: offset.parse().ok()? })
    }
}

/// What begins and ends a transaction has other names in SQL Server, which has ended the one that lost a lock already.
fn transact(sql: &str) -> &str {
    match sql {
        "BEGIN" => "BEGIN TRANSACTION",
        "ROLLBACK" => "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION",
        "SAVEPOINT regret" => "SAVE TRANSACTION regret",
        "ROLLBACK TO SAVEPOINT regret" => "ROLLBACK TRANSACTION regret",
        other => other,
    }
}

/// `moment` as a text that all engines read and [`Session::requests`] writes.
pub(crate) fn moment_text(moment: NaiveDateTime) -> String {
    moment.format(MOMENT).to_string()
}

/// `text` as a literal. None of the demonstration's own texts holds what only one engine escapes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_each_log_are_read_and_ordered() {
        let read = |text| LogPlace::read(text).unwrap();
        assert!(read("0/FFFFFFFF") < read("1/0"));
        assert!(read("binlog.000009:900 3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5") < read("binlog.000010:4"));
        assert!(read("binlog.000010:4") < read("binlog.000010:5 0-1-7"));
        assert!(read("0x00000027000007580005") < read("0x00000027000007590001"));
        assert!(read("0x00000027FFFFFFFFFFFF") < read("0x00000028000000000000"));
        assert_eq!(LogPlace::read("nowhere"), None);
    }
}
