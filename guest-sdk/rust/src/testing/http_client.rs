//! HTTP/1.1 over a real connection to this machine's loopback, as far as a test needs it: one request, then the
//! connection is closed; bodies by length, in chunks, or to the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::world::http::{Header, HttpError, Method, Phases, Request, Response};
use super::world::streams::StreamError;

/// A test's body is small; a server that sends without end must not fill the memory.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

pub(super) fn fetch(request: &Request, local_port: u16) -> Result<Response, HttpError> {
    let timeout = Duration::from_millis(u64::from(request.timeout_milliseconds.max(1)));
    let began = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, local_port));
    let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(|error| fault(&error))?;
    let connected = began.elapsed();
    stream.set_read_timeout(Some(timeout)).map_err(|error| fault(&error))?;
    stream.write_all(&head(request)).and_then(|()| stream.write_all(&request.body)).map_err(|error| fault(&error))?;
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader)?;
    let answered = began.elapsed();
    let body = if request.method == Method::Head { Vec::new() } else { read_body(&mut reader, &headers)? };
    let phases = Phases {
        connect_milliseconds: milliseconds(connected),
        first_byte_milliseconds: milliseconds(answered.saturating_sub(connected)),
        transfer_milliseconds: milliseconds(began.elapsed().saturating_sub(answered)),
    };
    Ok(Response { status, headers, body, truncated: false, phases })
}

fn head(request: &Request) -> Vec<u8> {
    let method = match request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
    };
    let host = if request.host.is_empty() { format!("localhost:{}", request.port) } else { request.host.clone() };
    let mut head = format!("{method} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", request.path);
    for header in &request.headers {
        head.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    head.into_bytes()
}

fn read_line(reader: &mut impl BufRead) -> Result<String, HttpError> {
    let mut line = String::new();
    match reader.read_line(&mut line).map_err(|error| fault(&error))? {
        0 => Err(HttpError::Closed),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn read_head(reader: &mut impl BufRead) -> Result<(u16, Vec<Header>), HttpError> {
    let line = read_line(reader)?;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| HttpError::Protocol(format!("the response begins with {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| HttpError::Protocol(format!("{line:?} is not a header")))?;
        headers.push(Header { name: name.to_ascii_lowercase(), value: value.trim().to_owned() });
    }
}

fn read_body(reader: &mut impl BufRead, headers: &[Header]) -> Result<Vec<u8>, HttpError> {
    let find = |name: &str| headers.iter().find(|header| header.name == name).map(|header| header.value.as_str());
    let mut body = Vec::new();
    if find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(reader)?;
            let length = u64::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
                .map_err(|_| HttpError::Protocol(format!("{line:?} is not a chunk's length")))?;
            if length == 0 {
                return Ok(body);
            }
            reader.by_ref().take(length).read_to_end(&mut body).map_err(|error| fault(&error))?;
            read_line(reader)?;
        }
    }
    let length = find("content-length").and_then(|value| value.parse().ok()).unwrap_or(MAX_BODY_BYTES);
    reader.take(length).read_to_end(&mut body).map_err(|error| fault(&error))?;
    Ok(body)
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn fault(error: &std::io::Error) -> HttpError {
    match super::peer::fault(error) {
        StreamError::Refused => HttpError::Refused,
        StreamError::Timeout => HttpError::Timeout,
        StreamError::Closed => HttpError::Closed,
        StreamError::Denied(why) => HttpError::Denied(why),
        StreamError::Other(why) => HttpError::Other(why),
    }
}
