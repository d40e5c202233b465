//! What a run returns, logs and keeps.

use sonde_host::{Churn, Grant, LOG_LINE_BYTES};

use crate::{Attempt, attempt, collected, failed, seen};

#[tokio::test]
async fn series() {
    let report = attempt("series", 25).under(|grant| grant.limits.series = 10).await;
    let collected = collected(&report);
    assert_eq!((collected.series, collected.series_dropped), (10, 15));
    assert_eq!(collected.lines, [10]);
}

#[tokio::test]
async fn labels() {
    for (what, most) in [("labels", 16), ("label_name", 64), ("label_value", 256)] {
        assert_eq!(seen(&attempt(what, most).run().await), 1.0, "{what}");
        let (reason, sentence) = failed(&attempt(what, most + 1).run().await);
        assert_eq!(reason, "output", "{what}");
        assert!(sentence.contains("over_labelled"), "{sentence}");
    }
}

#[tokio::test]
async fn families() {
    let limit = |grant: &mut Grant| grant.limits.families = 3;
    assert_eq!(collected(&attempt("families", 3).under(limit).await).families.len(), 3);
    let (reason, sentence) = failed(&attempt("families", 4).under(limit).await);
    assert_eq!(reason, "output");
    assert!(sentence.contains("it has 4 families, and 3 are allowed"), "{sentence}");
}

#[tokio::test]
async fn result_bytes() {
    let returned = attempt("series", 100).run().await.usage.result_bytes;
    let report = attempt("series", 100).under(|grant| grant.limits.result_bytes = returned).await;
    assert_eq!(collected(&report).series, 100);
    let report = attempt("series", 100).under(|grant| grant.limits.result_bytes = returned - 1).await;
    assert_eq!(failed(&report), ("result", format!("returned more than {} bytes", returned - 1)));
}

#[tokio::test]
async fn new_series_per_hour() {
    let mut churn = Churn::default();
    let limit = |grant: &mut Grant| grant.limits.new_series_per_hour = 5;
    // The first is free, the old ones stay, five are welcome and no more; those that were left out are not known.
    for (amount, kept) in [(10, 10), (10, 10), (15, 15), (25, 15), (10, 10)] {
        let report = attempt("series", amount).under_after(limit, &mut churn).await;
        let collected = collected(&report);
        assert_eq!((collected.series, collected.series_dropped), (kept, amount as u64 - kept));
    }
}

#[tokio::test]
async fn log_bytes() {
    let report = attempt("log_lines", 1_000).under(|grant| grant.limits.log_lines = 1_000).await;
    assert!(report.result.is_ok() && report.logs_cut);
    assert_eq!(report.logs.len(), 512, "8 KiB of 16 bytes");
    assert_eq!(report.usage.log_bytes, 8 << 10);

    let report = attempt("log_line", 4 * LOG_LINE_BYTES).run().await;
    assert!(report.logs_cut);
    assert_eq!(report.logs.iter().map(|line| line.message.len()).collect::<Vec<_>>(), [LOG_LINE_BYTES]);
}

#[tokio::test]
async fn log_lines() {
    let report = attempt("log_lines", 100).run().await;
    assert_eq!((report.logs.len(), report.logs_cut, report.usage.log_lines), (100, false, 100));
    let report = attempt("log_lines", 101).run().await;
    assert_eq!((report.logs.len(), report.logs_cut, report.usage.log_lines), (100, true, 100));
}

#[tokio::test]
async fn state_bytes() {
    let report = attempt("state", 4 << 10).run().await;
    assert_eq!(seen(&report), 1.0);
    assert_eq!(report.state, Some(vec![7; 4 << 10]));

    let report = attempt("state", (4 << 10) + 1).run().await;
    assert_eq!(seen(&report), 0.0, "the guest is told");
    assert_eq!(report.state, None);

    let report = attempt("state_then_fail", 1).run().await;
    assert_eq!(failed(&report), ("other", "other: stored".into()));
    assert_eq!(report.state, None, "a run that fails leaves the state as it was");

    let loaded = Attempt { state: b"kept", ..attempt("state_loaded", 0) };
    assert_eq!(seen(&loaded.run().await), 4.0);
}

#[tokio::test]
async fn state_that_is_not_granted() {
    let report = attempt("state", 1).under(|grant| grant.state = false).await;
    assert_eq!((seen(&report), report.state), (0.0, None));
}
