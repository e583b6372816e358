//! How long the log that follows a position will be kept.

use std::time::Duration;

use change::{Position, Source};
use testbed::mysql::{Options, Server};

use crate::database::{Database, PRODUCTS, SOLICITUDES, solicitudes};

const KEPT: Duration = Duration::from_secs(864_000);

async fn end(database: &Database) -> Position {
    let (file, offset) = database.log_end().await;
    Position::new(format!("{file}:{offset}"))
}

#[tokio::test]
async fn the_time_left_counts_from_when_the_file_was_closed_and_ends_with_it() {
    for product in PRODUCTS {
        let options = Options::new(product).without_fsync();
        let options = options.setting("binlog_expire_logs_seconds", &KEPT.as_secs().to_string());
        let server: &'static Server =
            Box::leak(Box::new(Server::start(options).unwrap_or_else(|error| panic!("{error}"))));
        let database = Database::on(server).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&solicitudes());
        let position = end(&database).await;
        let present = source.retention(&position).await.unwrap();
        assert_eq!(present.left, Some(KEPT), "{product}: the file is still being written");
        assert_eq!(present.kept_bytes, Some(0));

        database.run(&["FLUSH BINARY LOGS"]).await;
        // Asked twice: the second time from memory.
        for _ in 0..2 {
            let closed = source.retention(&position).await.unwrap();
            let left = closed.left.unwrap();
            assert!(left <= KEPT && left > KEPT - Duration::from_secs(120), "{product}: {left:?}");
            assert!(closed.kept_bytes.unwrap() > 0);
        }

        let last = end(&database).await;
        let (file, _) = last.as_str().rsplit_once(':').unwrap();
        database.run(&[&format!("PURGE BINARY LOGS TO '{file}'")]).await;
        assert_eq!(source.retention(&position).await.unwrap().left, Some(Duration::ZERO), "{product}");

        database.run(&["SET GLOBAL binlog_expire_logs_seconds = 0"]).await;
        assert_eq!(source.retention(&last).await.unwrap().left, None, "{product}: kept for ever");
        server.stop().unwrap();
    }
}
