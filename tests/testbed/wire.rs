//! A small HTTP server that answers as it is told, down to the bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with a connection once it has read the request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes and closes.
    Answer(String),
    /// Closes without a word.
    Close,
    /// Keeps it open and says nothing.
    Silence,
}

/// An answer of this status (`200 OK`), these header lines (each with its line end) and this body.
pub fn http(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    ))
}

/// A server that does with each request (its head and body) as `act` says; it ends with the set.
pub async fn serve(
    tasks: &mut JoinSet<()>,
    mut act: impl FnMut(&str) -> Act + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            match act(&request) {
                Act::Answer(answer) => {
                    // Who asked may have lost patience.
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
                Act::Close => {}
                Act::Silence => held.push(stream),
            }
        }
    });
    address
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}
