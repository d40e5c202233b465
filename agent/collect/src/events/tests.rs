use super::*;

fn counts(oom_kills: u64, forks_refused: u64) -> Counts {
    Counts { oom_kills: Some(oom_kills), memory_limit_hits: None, forks_refused: Some(forks_refused) }
}

#[test]
fn what_is_more_is_counted_once_whoever_reads_it() {
    let totals = Arc::<Totals>::default();
    let noticed = Noticed::new(totals.clone(), None);
    noticed.saw(counts(7, 3));
    assert_eq!((totals.oom_kills(), totals.forks_refused()), (0, 0), "that was before");
    assert!(!noticed.was_killed_within(LONGEST_PAUSE));
    noticed.saw(counts(9, 3));
    noticed.saw(counts(8, 4));
    noticed.saw(Counts::default());
    noticed.saw(counts(9, 4));
    assert_eq!((totals.oom_kills(), totals.forks_refused()), (2, 1));
    assert_eq!(noticed.counts(), counts(9, 4));
    assert!(noticed.was_killed_within(Duration::from_secs(60)));
    let new = Noticed::new(totals.clone(), Some(Counts::default()));
    new.saw(counts(1, 0));
    assert_eq!(totals.oom_kills(), 3);
}

#[test]
fn who_wants_for_memory_is_looked_at_again_and_not_for_ever() {
    let (mut due, begin) = (Due::default(), Instant::now());
    assert_eq!(due.until(begin), None);
    due.and_again(5, begin);
    due.and_again(5, begin);
    assert_eq!((std::mem::take(&mut due.now), due.again.len()), (vec![5], 1));
    let mut now = begin;
    for pause in AGAIN {
        assert_eq!(due.until(now), Some(pause));
        due.ripe(now + pause / 2);
        assert!(due.now.is_empty());
        now += pause;
        due.ripe(now);
        assert_eq!(std::mem::take(&mut due.now), [5]);
    }
    assert_eq!(due.until(now), None);
}
