//! What every event log promises, checked on each: the embedded one and a real Kafka.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod suite;

/// Each case becomes a test on each log.
macro_rules! on_every_log {
    ($($group:ident: $($case:ident),+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let log = crate::suite::sqlite(&folder).await;
                    crate::suite::$group::$case(log).await;
                }
            )+)+
        }

        mod kafka {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let log = crate::suite::kafka();
                    crate::suite::and_clean_up(crate::suite::$group::$case(log)).await;
                }
            )+)+
        }
    };
}

on_every_log! {
    publishing:
        acknowledges_in_order,
        keys_choose_partitions_as_java_does,
        keeps_bytes_as_they_are,
        takes_large_records_and_refuses_too_large_ones,
        serves_concurrent_publishers,
        names_a_missing_topic;
    consuming:
        a_group_resumes_where_it_committed,
        what_was_not_committed_comes_again,
        a_group_may_start_at_the_end,
        paused_partitions_wait,
        seeks_there_and_back,
        memory_is_bounded_by_the_prefetch,
        a_dropped_wait_loses_nothing;
    groups:
        two_members_share_nothing_and_miss_nothing,
        a_member_that_is_dropped_is_replaced,
        commits_of_a_former_member_are_refused,
        groups_and_their_offsets_can_be_asked;
    reading:
        an_assignment_leaves_groups_alone,
        an_assignment_past_the_end_is_refused,
        extents_and_times_tell_where_records_are,
        a_head_that_is_forgotten_is_gone_for_every_reader,
        a_compacted_topic_forgets_no_head;
    lag:
        counts_what_a_group_has_not_committed,
        finds_groups_by_itself_and_forgets_none_of_its_topics;
    letters:
        open_letters_are_all_minus_those_that_are_marked,
        a_redriven_letter_stands_at_its_origin_again_and_is_not_redriven_twice,
        what_fails_again_is_told_and_open_again,
        a_redrive_that_dies_before_it_marks_loses_nothing,
        what_was_too_large_for_a_letter_is_read_from_its_origin,
        what_never_was_in_the_log_is_read_again,
        letters_keep_their_names_when_some_lose_their_content,
        who_reads_while_letters_move_is_told,
        a_letter_without_room_for_its_name_keeps_what_it_holds;
    topics:
        are_applied_once_and_listed,
        with_other_partitions_are_left_alone;
}
