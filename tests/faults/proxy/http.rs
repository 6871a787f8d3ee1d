//! As much of HTTP/1.1 as stands between a client that sends `Content-Length` and a store.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A message with all of its body.
#[derive(Clone, Debug)]
pub struct Message {
    /// First line and header lines, without the empty line that ends them.
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    /// An answer of this status (`500 Internal Server Error`), these header lines and this body.
    pub fn answer(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}");
        Self { head: head.trim_end().to_owned(), body: body.as_bytes().to_vec() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The same with another value of a header; with nothing, without it.
    pub fn with_header(mut self, name: &str, value: Option<&str>) -> Self {
        let mut lines: Vec<String> = self
            .head
            .lines()
            .filter(|line| {
                line.split_once(':').is_none_or(|(known, _)| !known.eq_ignore_ascii_case(name))
            })
            .map(str::to_owned)
            .collect();
        lines.extend(value.map(|value| format!("{name}: {value}")));
        self.head = lines.join("\r\n");
        self
    }

    /// The same with another body.
    pub fn with_body(self, body: Vec<u8>) -> Self {
        let length = body.len().to_string();
        Self { body, ..self.with_header("Content-Length", Some(&length)) }
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone().into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The next request of a connection; nothing when the client has gone.
pub async fn request(stream: &mut TcpStream) -> io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    loop {
        if let Some((head, rest)) = split(&bytes) {
            let mut message = Message { head, body: rest };
            let length = message.header("Content-Length").and_then(|length| length.parse().ok());
            let length: usize = length.unwrap_or(0);
            while message.body.len() < length {
                if stream.read_buf(&mut message.body).await? == 0 {
                    return Ok(None);
                }
            }
            return Ok(Some(message));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// Asks the store, on a connection of its own.
pub async fn ask(store: SocketAddr, request: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(store).await?;
    let request = request.clone().with_header("Connection", Some("close"));
    stream.write_all(&request.bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let (head, body) = split(&bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
    let answer = Message { head, body }.with_header("Connection", None);
    let length = answer.header("Content-Length").and_then(|length| length.parse::<usize>().ok());
    match length {
        Some(length) if length > answer.body.len() && !request.head.starts_with("HEAD ") => {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        // Only the end of the connection ends it.
        None if answer.header("Transfer-Encoding").is_none() => {
            Ok(answer.with_header("Connection", Some("close")))
        }
        _ => Ok(answer),
    }
}

fn split(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + 4..].to_vec()))
}
