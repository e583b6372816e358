//! Names, and columns of other types: the same cell reads the same from the table and from its change table.

use super::backend::SqlServer;
use crate::support::backend::Session;
use crate::support::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_taken_literally() {
    let mut scene = Scene::<SqlServer>::new().await;
    let table = "[Solicitud única [2024]]]";
    scene
        .sql
        .run(&format!(
            "CREATE TABLE dbo.{table} ([Id] int NOT NULL PRIMARY KEY, [Número] nvarchar(40) NOT NULL,
                 [ESTADO] int NOT NULL, [Fecha Apertura] datetimeoffset(3) NOT NULL, [select] nvarchar(max) NULL)"
        ))
        .await;
    scene
        .sql
        .run(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'Solicitud única [2024]',
                 @capture_instance = N'otra instancia', @role_name = NULL, @supports_net_changes = 0",
        )
        .await;
    let source = scene.backend.source_for("Solicitud única [2024]");
    scene.reconfigure(|config| {
        config.source = source;
        config.mapping = r#"
            service_id = { value = "77" }
            request_id = { column = "Número" }
            opening_date = { column = "Fecha Apertura" }
            status_id = { column = "ESTADO" }
            last_modified_date = { commit_time = true }
        "#
        .into();
    });
    let insert = format!("INSERT INTO dbo.{table} VALUES");
    scene.sql.run(&format!("{insert} (1, N'Á/1 ñ', 9, '2024-05-05 08:00 -04:00', 'x')")).await;
    scene.backend.captured().await;
    let daemon = scene.product.run().await;
    scene.sql.run(&format!("{insert} (2, N'Á/2 日本', 21, '2024-05-05 12:00 +00:00', 'x')")).await;
    scene.sql.run(&format!("UPDATE dbo.{table} SET [ESTADO] = 2 WHERE [Id] = 1")).await;
    daemon.captured(2).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["Á/1 ñ 9", "Á/2 日本 21", "Á/1 ñ 2"]).await;
    assert!(scene.dashboard.records().iter().all(|record| record.opening_date == "2024-05-05T12:00:00Z"));
    scene.product.must(&["check"]).await;
}

/// A column's type, a cell as SQL has it, and the moment or text that must leave.
const TIMES: [(&str, &str, &str); 5] = [
    ("datetime", "2024-03-05 10:20:30.127", "2024-03-05T14:20:30.127000Z"),
    ("datetime2(7)", "2024-03-05 10:20:30.1234567", "2024-03-05T14:20:30.123456Z"),
    ("smalldatetime", "2024-03-05 10:20", "2024-03-05T14:20:00Z"),
    ("datetimeoffset(7)", "2024-03-05 10:20:30.5 +02:00", "2024-03-05T08:20:30.500000Z"),
    ("date", "2024-03-05", "2024-03-05T04:00:00Z"),
];

const IDS: [(&str, &str, &str); 6] = [
    ("bigint", "9007199254740993", "9007199254740993"),
    ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'", "6F9619FF-8B86-D011-B42D-00C04FC964FF"),
    ("decimal(12, 2)", "7.5", "7.50"),
    ("char(8)", "'AB'", "AB"),
    ("nchar(8)", "N'ñ'", "ñ"),
    ("nvarchar(400)", "N'日本'", "日本"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_of_every_type_read_the_same_by_copy_and_by_stream() {
    let mut scene = Scene::<SqlServer>::new().await;
    // The lists side by side; the shorter one begins anew.
    let cases = IDS.iter().zip(TIMES.iter().cycle()).map(|(id, time)| (time, id));
    for (number, ((time_type, time, moment), (id_type, id, text))) in cases.enumerate() {
        let table = format!("de_tipos_{number}");
        scene
            .sql
            .run(&format!(
                "CREATE TABLE dbo.{table} (clave int NOT NULL PRIMARY KEY, numero {id_type} NOT NULL,
                     estado tinyint NOT NULL, fecha {time_type} NOT NULL)"
            ))
            .await;
        scene
            .sql
            .run(&format!(
                "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{table}', @role_name = NULL,
                     @supports_net_changes = 0"
            ))
            .await;
        scene.sql.run(&format!("INSERT INTO dbo.{table} VALUES (1, {id}, 9, '{time}')")).await;
        scene.backend.captured().await;
        let source = scene.backend.source_for(&format!("dbo.{table}"));
        scene.reconfigure(|config| {
            config.source = source;
            config.ledger = format!("dir = \"ledger-{number}\"\n");
            config.mapping = "
                service_id = { value = \"77\" }
                request_id = { column = \"numero\" }
                opening_date = { column = \"fecha\", time_zone = \"America/Santo_Domingo\" }
                status_id = { column = \"estado\" }
                last_modified_date = { column = \"fecha\", time_zone = \"America/Santo_Domingo\" }
            "
            .replace(
                ", time_zone = \"America/Santo_Domingo\"",
                if time_type.starts_with("datetimeoffset") {
                    ""
                } else {
                    ", time_zone = \"America/Santo_Domingo\""
                },
            );
        });
        let before = scene.dashboard.records().len();
        let daemon = scene.product.run().await;
        scene.sql.run(&format!("UPDATE dbo.{table} SET estado = 3")).await;
        daemon.captured(1).await;
        scene.product.must(&["backfill"]).await;
        scene.product.flush().await;
        daemon.stop().await;
        let records = &scene.dashboard.records()[before..];
        let told: Vec<_> =
            records.iter().map(|record| (record.request_id.as_str(), record.status_id)).collect();
        assert_eq!(told, [(*text, 9), (*text, 3)], "{id_type} {time_type}");
        for record in records {
            assert_eq!(record.opening_date, *moment, "{time_type}");
            assert_eq!(record.last_modified_date, *moment, "{time_type}");
        }
    }
}
