//! What is taken away again, and what is left alone.

use change::Source;

use crate::database::{ENABLE_DATABASE, by_hand, captured, run, source, uncaptured};

#[tokio::test]
async fn the_instance_that_setup_made_goes() {
    let server = uncaptured(by_hand());
    let source = source(&server);
    assert_eq!(source.removal().await.unwrap().statements, [], "before anything was made");
    run(&server, ENABLE_DATABASE);
    source.apply(&source.setup().await.unwrap()).await.unwrap();

    let removal = source.removal().await.unwrap();
    let sql: Vec<&str> = removal.statements.iter().map(|statement| statement.sql.as_str()).collect();
    assert_eq!(
        sql,
        ["EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'solicitudes', \
          @capture_instance = N'dbo_solicitudes'"]
    );
    source.apply(&removal.statements).await.unwrap();
    assert_eq!(source.removal().await.unwrap().statements, []);
}

#[tokio::test]
async fn an_instance_that_somebody_else_made_stays() {
    let server = captured(by_hand());
    let removal = source(&server).removal().await.unwrap();
    assert_eq!(removal.statements, []);
    let stays: Vec<&str> = removal.remains.iter().map(|statement| statement.sql.as_str()).collect();
    assert!(stays[0].contains("@capture_instance = N'dbo_solicitudes'"), "{stays:?}");
}
