//! The sensor against scripted answers, and once against a real socket.

use std::io::{Read, Write};

use sonde_sensor::testing::{Answer, Instance, collect};
use sonde_sensor_http::Http;

fn instance() -> Instance {
    Instance::new().config("url", "http://shop.example/health?full=1").config("timeout_ms", "1500")
}

#[test]
fn an_answer_is_up_with_its_figures() {
    let answer = Answer::ok("fine").header("Content-Length", "4");
    let collected = collect::<Http>(instance().http(80, "/health?full=1", answer)).unwrap();
    assert_eq!(collected.value("http_up", &[]), Some(1.0));
    assert_eq!(collected.value("http_status_code", &[]), Some(200.0));
    assert_eq!(collected.value("http_content_length", &[]), Some(4.0));
    assert_eq!(collected.count("http_duration_seconds"), 3);
    assert_eq!(collected.value("http_duration_seconds", &[("phase", "first_byte")]), Some(0.002));
}

#[test]
fn a_redirect_is_up_and_an_error_is_not() {
    let redirect = collect::<Http>(instance().http(80, "/health?full=1", Answer::status(301))).unwrap();
    assert_eq!(redirect.value("http_up", &[]), Some(1.0));
    assert_eq!(redirect.value("http_status_code", &[]), Some(301.0));
    let broken = collect::<Http>(instance().http(80, "/health?full=1", Answer::status(500))).unwrap();
    assert_eq!(broken.value("http_up", &[]), Some(0.0));
    assert_eq!(broken.value("http_status_code", &[]), Some(500.0));
}

#[test]
fn no_answer_is_down_and_nothing_else() {
    let collected = collect::<Http>(instance()).unwrap();
    assert_eq!(collected.value("http_up", &[]), Some(0.0));
    assert_eq!(collected.batch().numbers.len(), 1);
}

#[test]
fn a_real_socket_with_a_chunked_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream
            .write_all(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
            .unwrap();
        String::from_utf8(request).unwrap()
    });
    let collected = collect::<Http>(instance().http_real(80, port)).unwrap();
    assert_eq!(collected.value("http_status_code", &[]), Some(503.0));
    assert_eq!(collected.value("http_content_length", &[]), Some(6.0));
    let request = server.join().unwrap();
    assert!(request.starts_with("GET /health?full=1 HTTP/1.1\r\nhost: shop.example\r\n"), "{request}");
}
