//! An HTTP server on loopback that can do everything wrong: a few lines per fault.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET`, `POST`.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// What was sent along.
    pub(crate) body: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a header, in order.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// Where the range that is asked for begins.
    pub(crate) fn range(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// How a reply ends before its end.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Close,
    Reset,
    Hang,
    Trickle,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length,
    Chunked,
    Unframed,
}

/// What the server does about a request.
#[derive(Clone)]
pub(crate) struct Reply {
    code: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    framing: Framing,
    fault: Fault,
    /// After so many bytes of the body; `None` is before the head.
    at: Option<usize>,
    /// How often the body is sent: a large one need not be made.
    times: usize,
    pause: Duration,
}

impl Reply {
    pub(crate) fn status(code: u16) -> Self {
        Self {
            code,
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            fault: Fault::None,
            at: Some(0),
            times: 1,
            pause: Duration::ZERO,
        }
    }

    pub(crate) fn ok(body: &[u8]) -> Self {
        Self {
            body: body.to_vec(),
            ..Self::status(200)
        }
    }

    /// With another status.
    pub(crate) fn but(self, code: u16) -> Self {
        Self { code, ..self }
    }

    /// What follows the first `had` bytes.
    pub(crate) fn rest(body: &[u8], had: usize) -> Self {
        let range = format!(
            "Content-Range: bytes {had}-{}/{}",
            body.len() - 1,
            body.len()
        );
        Self {
            code: 206,
            ..Self::ok(&body[had..]).header(&range)
        }
    }

    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    pub(crate) fn chunked(self) -> Self {
        Self {
            framing: Framing::Chunked,
            ..self
        }
    }

    /// Neither a length nor chunks: the end of the connection is the end of the body.
    pub(crate) fn unframed(self) -> Self {
        Self {
            framing: Framing::Unframed,
            ..self
        }
    }

    /// The same body, so many times over.
    pub(crate) fn repeated(self, times: usize) -> Self {
        Self { times, ..self }
    }

    fn fault(self, fault: Fault, at: Option<usize>) -> Self {
        Self { fault, at, ..self }
    }

    pub(crate) fn close_after(self, bytes: usize) -> Self {
        self.fault(Fault::Close, Some(bytes))
    }

    pub(crate) fn reset_after(self, bytes: usize) -> Self {
        self.fault(Fault::Reset, Some(bytes))
    }

    pub(crate) fn hang_after(self, bytes: usize) -> Self {
        self.fault(Fault::Hang, Some(bytes))
    }

    pub(crate) fn hang_before(self) -> Self {
        self.fault(Fault::Hang, None)
    }

    /// A byte every 20 ms.
    pub(crate) fn trickle(self) -> Self {
        self.fault(Fault::Trickle, Some(0))
    }

    /// Takes its time before it answers.
    pub(crate) fn pause(self) -> Self {
        Self {
            pause: Duration::from_millis(200),
            ..self
        }
    }

    fn head(&self) -> String {
        let framing = match self.framing {
            Framing::Length => format!("Content-Length: {}", self.body.len() * self.times),
            Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
            Framing::Unframed => "Connection: close".to_owned(),
        };
        let mut lines = vec![format!("HTTP/1.1 {} Whatever", self.code)];
        lines.extend_from_slice(&self.headers);
        lines.extend([framing, String::new(), String::new()]);
        lines.join("\r\n")
    }
}

type Handler = dyn Fn(usize, &Request) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    over: AtomicBool,
}

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// `handler` is given each request and its number.
    pub(crate) fn start(
        handler: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.over.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { return };
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let shared = Arc::clone(&shared);
                    // A client that goes away is this server's daily bread.
                    thread::spawn(move || serve(&stream, &shared));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no panic").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// A port that nobody listens on.
pub(crate) fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    listener.local_addr().expect("bound").port()
}

fn serve(stream: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = read_request(&mut reader)?;
        let number = {
            let mut requests = shared.requests.lock().expect("no panic");
            requests.push(request.clone());
            requests.len() - 1
        };
        let reply = (shared.handler)(number, &request);
        thread::sleep(reply.pause);
        answer(stream, shared, &reply)?;
        if reply.framing == Framing::Unframed {
            return None;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        let read = reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let (method, rest) = first.split_once(' ')?;
    let path = rest.split(' ').next()?.to_owned();
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        method: method.to_owned(),
        path,
        body: String::new(),
        headers,
    };
    let length = request.header("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

fn answer(mut stream: &TcpStream, shared: &Shared, reply: &Reply) -> Option<()> {
    let Some(at) = reply.at else {
        return hang(stream, shared);
    };
    stream.write_all(reply.head().as_bytes()).ok()?;
    let whole = reply.fault == Fault::None;
    let body = &reply.body[..if whole {
        reply.body.len()
    } else {
        at.min(reply.body.len())
    }];
    for _ in 0..reply.times {
        if reply.framing != Framing::Chunked {
            stream.write_all(body).ok()?;
            continue;
        }
        for chunk in body.chunks(10_000) {
            let size = format!("{:x}\r\n", chunk.len());
            stream.write_all(size.as_bytes()).ok()?;
            stream.write_all(chunk).ok()?;
            stream.write_all(b"\r\n").ok()?;
        }
    }
    if whole && reply.framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n").ok()?;
    }
    match reply.fault {
        Fault::None => Some(()),
        Fault::Close => None,
        Fault::Reset => {
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
                .expect("SO_LINGER");
            None
        }
        Fault::Hang => hang(stream, shared),
        Fault::Trickle => {
            for byte in &reply.body {
                stream.write_all(&[*byte]).ok()?;
                thread::sleep(Duration::from_millis(20));
            }
            None
        }
    }
}

/// Says nothing more until the client goes away.
fn hang(mut stream: &TcpStream, shared: &Shared) -> Option<()> {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    while !shared.over.load(Ordering::SeqCst) {
        match stream.read(&mut [0]) {
            Ok(0) => return None,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return None,
            _ => {}
        }
    }
    None
}
