//! Several POSTs under way at once.

use std::collections::HashMap;

use pipeline::{FlushResult, GroupBy};

use crate::arrange::Desk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_s_records_stay_in_order_whatever_the_number_of_lanes() {
    for concurrency in [1, 2, 4, 16] {
        for group_by in [GroupBy::None, GroupBy::Service] {
            let mut desk = Desk::new(|settings| {
                settings.concurrency = concurrency;
                settings.group_by = group_by;
            })
            .await;
            desk.captured(20, 15);
            desk.tablero.set_fault("503%20".parse().unwrap());
            let report = desk.flush().await;
            let told = (report.result, report.records);
            assert_eq!(told, (FlushResult::Acknowledged, 300), "{concurrency} lanes, {group_by:?}");
            assert_eq!(desk.stored(), Desk::expected(20, 15), "{concurrency} lanes, {group_by:?}");
            assert_eq!(desk.tablero.summary().repeats, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_repeats_what_was_under_way_whole_and_identical_and_nothing_else() {
    for (before, after) in [(4, 4), (4, 1), (1, 4), (3, 2)] {
        let mut desk = Desk::new(|settings| settings.concurrency = before).await;
        desk.captured(30, 6);
        desk.tablero.set_fault(format!("hang-after-store:{before}").parse().unwrap());
        // So many POSTs hang at once: the lanes work side by side.
        desk.flush_until(before as usize).await;
        desk.settings.concurrency = after;
        assert_eq!(desk.flush().await.result, FlushResult::Acknowledged);
        assert_eq!(desk.stored(), Desk::expected(30, 6), "{before} lanes, then {after}");
        let mut times: HashMap<String, usize> = HashMap::new();
        let attempts = desk.tablero.requests();
        for attempt in &attempts {
            *times.entry(attempt.sha256.clone()).or_default() += 1;
        }
        let first = attempts.iter().take(before as usize);
        assert!(first.clone().all(|attempt| times[&attempt.sha256] == 2), "{before} lanes, then {after}");
        assert_eq!(times.values().sum::<usize>(), times.len() + before as usize, "nothing else is repeated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halt_in_one_lane_ends_all_of_them() {
    let mut desk = Desk::new(|settings| settings.concurrency = 4).await;
    desk.captured(40, 5);
    desk.tablero.set_fault("x-road=server.serverproxy.access_denied".parse().unwrap());
    let report = desk.flush().await;
    assert_eq!(report.result, FlushResult::Halted);
    assert!(report.hint.unwrap().contains("grant"));
    let attempts = desk.tablero.requests().len();
    assert!((1..=4).contains(&attempts), "{attempts} POSTs");
    desk.tablero.set_fault("none".parse().unwrap());
    assert_eq!(desk.flush().await.result, FlushResult::Acknowledged);
    assert_eq!(desk.stored(), Desk::expected(40, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_ends_in_quarantine_while_other_lanes_go_on() {
    let mut desk = Desk::new(|settings| settings.concurrency = 4).await;
    desk.captured(40, 5);
    desk.tablero.set_fault("poison:R7".parse().unwrap());
    let report = desk.flush().await;
    assert_eq!((report.result, report.records, report.quarantined), (FlushResult::Partial, 195, 5));
    let mut expected = Desk::expected(40, 5);
    expected.remove("R7");
    assert_eq!(desk.stored(), expected);
}
