//! Zones and daylight saving, by table, through a real server.

use crate::support::backend::{Backend, Session};
use crate::support::config::replace;
use crate::support::scene::Scene;

/// Local moments and what must leave.
type Table = [(&'static str, &'static str)];

const SANTO_DOMINGO: &Table = &[
    ("2024-07-01 00:00:00", "2024-07-01T04:00:00Z"),
    ("2024-12-31 23:59:59.999999", "2025-01-01T03:59:59.999999Z"),
    ("2020-02-29 12:30:00.5", "2020-02-29T16:30:00.500000Z"),
];

const NEW_YORK: &Table = &[
    ("2024-01-15 12:00:00", "2024-01-15T17:00:00Z"),
    ("2024-07-15 12:00:00", "2024-07-15T16:00:00Z"),
    // The clock is put forward at 02:00: 02:30 does not exist, and is an hour later by the new time.
    ("2024-03-10 01:59:59", "2024-03-10T06:59:59Z"),
    ("2024-03-10 02:30:00", "2024-03-10T07:30:00Z"),
    ("2024-03-10 03:00:00", "2024-03-10T07:00:00Z"),
    // The clock is put back at 02:00: 01:30 happens twice, and the first one is meant.
    ("2024-11-03 00:59:59", "2024-11-03T04:59:59Z"),
    ("2024-11-03 01:30:00", "2024-11-03T05:30:00Z"),
    ("2024-11-03 02:00:00", "2024-11-03T07:00:00Z"),
];

const KOLKATA: &Table = &[("2024-06-01 00:15:00", "2024-05-31T18:45:00Z")];

pub(crate) async fn local_times_are_read_in_their_zone<B: Backend>() {
    for (zone, table) in
        [("America/Santo_Domingo", SANTO_DOMINGO), ("America/New_York", NEW_YORK), ("Asia/Kolkata", KOLKATA)]
    {
        let scene = Scene::<B>::with(|config| {
            replace(&mut config.mapping, "America/Santo_Domingo", zone);
        })
        .await;
        let insert = async |numero: &str, moment: &str| {
            let sql = format!(
                "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion) \
                 VALUES ('{numero}', 'LIC', 'RECIBIDA', '{moment}', '{moment}')"
            );
            scene.sql.run(&sql).await;
        };
        // Half of them by the copy, half by the stream: both must read alike.
        for (number, (local, _)) in table.iter().enumerate() {
            insert(&format!("C-{number}"), local).await;
        }
        let daemon = scene.product.run().await;
        for (number, (local, _)) in table.iter().enumerate() {
            insert(&format!("S-{number}"), local).await;
        }
        daemon.captured(table.len() as u64).await;
        scene.product.must(&["backfill"]).await;
        scene.product.flush().await;
        let records = scene.dashboard.records();
        for kind in ["C", "S"] {
            for (number, (local, expected)) in table.iter().enumerate() {
                let numero = format!("{kind}-{number}");
                let record = records.iter().find(|record| record.request_id == numero).unwrap();
                assert_eq!(record.opening_date, *expected, "{local} in {zone}, {numero}");
                assert_eq!(record.last_modified_date, *expected, "{local} in {zone}, {numero}");
            }
        }
    }
}
