//! The `Accept` headers that scrapers really send, and odd ones.

use sonde_expo::{Encoding, Escaping, Format, accept_encoding, negotiate};

const OPEN_METRICS_UTF8: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const PROTOBUF_UTF8: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[test]
fn every_prometheus_gets_its_format() {
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    for (version, accept, format, content_type) in [
        ("3.4", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2".to_owned(), Format::OpenMetrics100, OPEN_METRICS_UTF8),
        ("native histograms", format!("{protobuf};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"), Format::Protobuf, PROTOBUF),
        ("native histograms liked less", format!("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,{protobuf};q=0.5,*/*;q=0.1"), Format::OpenMetrics100, OPEN_METRICS_UTF8),
        ("3.0", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5;escaping=allow-utf-8,application/openmetrics-text;version=0.0.1;q=0.4;escaping=allow-utf-8,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3;escaping=allow-utf-8,text/plain;version=0.0.4;q=0.2;escaping=allow-utf-8,*/*;q=0.1;escaping=allow-utf-8".to_owned(), Format::OpenMetrics100, OPEN_METRICS_UTF8),
        ("3.0 native histograms", format!("{protobuf};q=0.6;escaping=allow-utf-8,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5;escaping=allow-utf-8,*/*;q=0.1;escaping=allow-utf-8"), Format::Protobuf, PROTOBUF_UTF8),
        ("2.42 native histograms", format!("{protobuf},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Format::Protobuf, PROTOBUF),
        ("2.50", "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2".to_owned(), Format::OpenMetrics100, OPEN_METRICS),
        ("2.49", "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=2".to_owned(), Format::OpenMetrics100, OPEN_METRICS),
        ("2.45", "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1".to_owned(), Format::OpenMetrics100, OPEN_METRICS),
        ("2.5", "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1".to_owned(), Format::OpenMetrics001, "application/openmetrics-text; version=0.0.1; charset=utf-8"),
        ("1.8", format!("{protobuf};q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"), Format::Protobuf, PROTOBUF),
        ("2.0", "text/plain;version=0.0.4;q=1,*/*;q=0.1".to_owned(), Format::Text004, TEXT),
    ] {
        let negotiated = negotiate(Some(&accept));
        assert_eq!((negotiated.format, negotiated.content_type), (format, content_type), "Prometheus {version}");
    }
}

#[test]
fn other_clients_get_what_they_mean() {
    let utf8 = Escaping::AllowUtf8;
    let plain = Escaping::Underscores;
    for (accept, format, escaping) in [
        (None, Format::Text004, plain),
        (Some(""), Format::Text004, plain),
        (Some("*/*"), Format::Text004, plain),
        (Some("text/*"), Format::Text004, plain),
        (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Text004, plain),
        (Some("application/json"), Format::Text004, plain),
        (Some(";;;,,=;q=,\u{e9}/;q=NaN"), Format::Text004, plain),
        (Some("application/openmetrics-text"), Format::OpenMetrics100, plain),
        (Some("application/openmetrics-text;version=2.0.0,*/*;q=0.1"), Format::Text004, plain),
        (Some("Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.1"), Format::OpenMetrics100, plain),
        (Some("text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.2"), Format::Text004, plain),
        (Some("application/openmetrics-text;version=1.0.0;q=0,text/plain;q=0.1"), Format::Text004, plain),
        (Some("application/openmetrics-text;version=1.0.0;q=-1,text/plain;q=0.1"), Format::Text004, plain),
        (Some("application/openmetrics-text;version=1.0.0;q=x,text/plain;q=0.9"), Format::OpenMetrics100, plain),
        (Some("application/openmetrics-text;version=1.0.0,text/plain;q=2"), Format::OpenMetrics100, plain),
        (Some("text/plain;version=1.0.0;escaping=allow-utf-8"), Format::Text100, utf8),
        (Some("text/plain;version=1.0.0;escaping=dots;escaping=values"), Format::Text100, Escaping::Values),
        (Some("text/plain;version=1.0.0;escaping=nonsense"), Format::Text100, plain),
        (Some("text/plain;version=0.0.4;escaping=dots"), Format::Text004, Escaping::Dots),
        // 0.0.4 has no quoted names, whatever is asked.
        (Some("text/plain;version=0.0.4;escaping=allow-utf-8"), Format::Text004, plain),
        // Another message, another encoding, or none named: not ours.
        (Some("application/vnd.google.protobuf"), Format::Text004, plain),
        (
            Some("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"),
            Format::Text004,
            plain,
        ),
        (Some("application/vnd.google.protobuf;proto=google.rpc.Status;encoding=delimited"), Format::Text004, plain),
        (
            Some(
                "Application/Vnd.Google.Protobuf; Encoding=\"delimited\"; proto=io.prometheus.client.MetricFamily;escaping=dots",
            ),
            Format::Protobuf,
            Escaping::Dots,
        ),
        (Some("application/json;escaping=dots,text/plain;version=1.0.0;q=0.5"), Format::Text100, Escaping::Dots),
    ] {
        let negotiated = negotiate(accept);
        assert_eq!((negotiated.format, negotiated.escaping), (format, escaping), "{accept:?}");
    }
    let named = negotiate(Some("text/plain;version=0.0.4;escaping=allow-utf-8")).content_type;
    assert_eq!(named, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
}

#[test]
fn compression_is_what_the_client_wants() {
    for (header, encoding) in [
        (None, Encoding::Identity),
        (Some(""), Encoding::Identity),
        (Some("identity"), Encoding::Identity),
        (Some("gzip"), Encoding::Gzip),
        (Some("x-gzip"), Encoding::Gzip),
        (Some("GZIP;q=0.5"), Encoding::Gzip),
        (Some("gzip;q=0"), Encoding::Identity),
        (Some("gzip;q=0.000, zstd;q=0"), Encoding::Identity),
        (Some("deflate, br"), Encoding::Identity),
        (Some("deflate, gzip, br, zstd"), Encoding::Gzip),
        (Some("zstd"), Encoding::Zstd),
        (Some("gzip;q=0.5, zstd;q=0.8"), Encoding::Zstd),
        (Some("gzip;q=0, zstd"), Encoding::Zstd),
        (Some("*"), Encoding::Gzip),
        (Some("gzip;q=0, *"), Encoding::Identity),
        (Some("identity, gzip;q=0.5"), Encoding::Identity),
        (Some("identity;q=0, br"), Encoding::Identity),
    ] {
        assert_eq!(accept_encoding(header), encoding, "{header:?}");
    }
}
