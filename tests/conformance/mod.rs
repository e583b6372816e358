//! What every engine must do, written once over a [`Backend`](crate::support::backend::Backend).
//!
//! A new engine brings a backend and one line: `crate::conformance::suite!(mysql_8: Mysql<V8>);`.
//!
//! - `transitions`: which row changes are status changes
//! - `deletions`: rows that go away
//! - `derived`: fields that are made of several columns
//! - `filter`: tables that hold more than requests
//! - `history`: tables of which each row is a status change
//! - `joins`: rows that are joined to their parents, and several tables in one connector
//! - `restarts`: the product stops and starts, by order and by force
//! - `crashes`: the product and the server die under load
//! - `lost_log`: the database has thrown the log away
//! - `backfill`: the history, once
//! - `audit`: the table compared with what the dashboard was told
//! - `overlap`: backfill and stream at the same time
//! - `times`: zones and daylight saving
//! - `memory`: a huge transaction
//! - `disk`: a ledger that may not grow; the engine does not matter there, and one of them has it

pub(crate) mod audit;
pub(crate) mod backfill;
pub(crate) mod crashes;
pub(crate) mod deletions;
pub(crate) mod derived;
pub(crate) mod disk;
pub(crate) mod filter;
pub(crate) mod history;
pub(crate) mod joins;
pub(crate) mod lost_log;
pub(crate) mod memory;
pub(crate) mod overlap;
pub(crate) mod restarts;
pub(crate) mod times;
pub(crate) mod transitions;

/// Makes the module `$name` with every case of the suite as a test against `$backend`. `quick` leaves out what moves many
/// rows: for another version of an engine that has the whole suite, where the machine's time is better spent.
macro_rules! suite {
    ($name:ident: $backend:ty) => {
        mod $name {
            use super::*;
            crate::conformance::quick_tests!($backend);
            crate::conformance::heavy_tests!($backend);
        }
    };
    (quick $name:ident: $backend:ty) => {
        mod $name {
            use super::*;
            crate::conformance::quick_tests!($backend);
        }
    };
}

macro_rules! quick_tests {
    ($backend:ty) => {
        crate::conformance::tests! { $backend,
            transitions::a_first_start_takes_the_present_as_known,
            transitions::each_transition_is_one_record_in_order,
            transitions::all_five_fields_arrive_as_the_table_says,
            transitions::edits_of_other_columns_are_no_records,
            transitions::a_repeat_of_a_status_is_no_record,
            transitions::what_was_rolled_back_never_leaves,
            transitions::a_changed_request_id_is_another_request,
            transitions::a_flush_of_nothing_sends_nothing,
            deletions::a_deleted_row_is_no_record_unless_asked_for,
            deletions::a_deleted_row_is_reported_with_the_status_that_was_asked_for,
            derived::ids_and_statuses_are_made_of_several_columns,
            derived::what_no_map_lists_goes_to_quarantine_or_stands_for_something,
            filter::rows_cross_the_condition_in_both_directions,
            filter::a_row_that_leaves_is_reported_like_a_deletion_where_deletions_are,
            filter::copy_and_log_are_judged_alike,
            filter::a_row_that_cannot_be_compared_goes_to_quarantine,
            history::each_row_is_a_record_and_corrections_follow_the_written_rule,
            history::a_backfill_sends_every_row_since_the_floor_in_order,
            history::a_ledger_does_not_change_from_requests_to_history,
            joins::each_row_is_sent_with_its_parent_as_it_was_at_the_rows_own_commit,
            joins::a_row_waits_for_its_parent_and_goes_to_quarantine_if_it_does_not_come,
            joins::three_tables_leave_by_their_own_mappings,
            joins::a_table_that_comes_later_is_copied_and_sent_when_it_is_asked_for,
            joins::what_changed_in_a_table_that_was_left_out_meanwhile_is_found_and_sent,
            restarts::what_commits_while_the_product_is_stopped_is_captured_afterwards,
            restarts::a_transaction_that_was_open_at_a_kill_is_captured_once,
            restarts::two_runs_cannot_share_a_ledger,
            restarts::a_ledger_begins_at_the_present_end,
            restarts::the_server_may_be_away_when_the_daemon_starts_again,
            lost_log::a_log_lost_while_stopped_is_noticed_and_mended,
            lost_log::a_log_lost_while_streaming_is_noticed_and_mended,
            backfill::every_request_is_sent_once_oldest_month_first,
            backfill::a_second_backfill_says_that_it_is_done_and_sends_nothing,
            backfill::a_restarted_backfill_sends_everything_again,
            backfill::nothing_opened_before_the_floor_leaves,
            backfill::from_and_to_are_whole_days_of_the_schedules_zone,
            backfill::a_dry_run_counts_and_stores_nothing,
            backfill::it_works_beside_a_running_daemon,
            backfill::a_request_whose_streamed_record_has_left_is_not_sent_again,
            backfill::a_backfill_record_leaves_before_the_requests_streamed_ones,
            backfill::it_resumes_after_kills_and_stops,
            backfill::a_closed_window_holds_it_back,
            audit::what_is_captured_or_can_be_is_on_its_way,
            audit::rows_that_do_not_count_or_cannot_be_mapped_are_not_missing,
            audit::what_a_lost_log_hid_is_found_and_repaired,
            audit::of_a_history_each_row_is_compared,
            times::local_times_are_read_in_their_zone,
        }
    };
}

/// Those that have the machine for themselves.
macro_rules! heavy_tests {
    ($backend:ty) => {
        crate::conformance::tests! { $backend,
            history::every_row_arrives_once_when_the_product_is_killed_under_load,
            history::backfill_and_stream_bring_the_whole_history_under_load,
            history::a_throttled_copy_and_the_stream_bring_the_whole_history_under_load,
            history::a_lost_log_loses_nothing_of_a_history,
            history::a_lost_log_that_is_repaired_in_pages_loses_nothing_of_a_history,
            joins::a_joined_history_arrives_once_when_the_product_is_killed_under_load,
            joins::a_lost_log_loses_nothing_of_a_joined_history,
            crashes::nothing_is_lost_or_invented_when_the_product_is_killed_under_load,
            crashes::nothing_is_lost_or_invented_when_the_first_copy_is_killed,
            crashes::nothing_is_lost_or_invented_when_the_server_is_killed_under_load,
            crashes::a_large_transaction_that_is_killed_half_way_is_captured_once,
            lost_log::a_log_lost_under_load_ends_with_the_right_statuses,
            audit::an_audit_under_load_makes_nothing_up,
            overlap::backfill_and_stream_overlap_under_load,
            overlap::a_throttled_copy_overlaps_with_the_stream_under_load,
            memory::a_huge_transaction_needs_little_memory,
        }
    };
}

/// One test for each case.
macro_rules! tests {
    ($backend:ty, $($file:ident::$case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                Box::pin(crate::conformance::$file::$case::<$backend>()).await;
            }
        )*
    };
}

pub(crate) use {heavy_tests, quick_tests, suite, tests};
