//! Answers: nothing after a commit, else Jetty's error page with Flume's message. Clients look at the status; people
//! and `curl -v` at the message, which stands in the reason phrase too.

use axum::body::Body;
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use std::fmt::Write;

/// Characters of a message that are shown.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// When who was refused by a full channel may come again, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Committed.
pub fn done() -> Response<Body> {
    Response::new(Body::empty())
}

/// A status and nothing else.
pub fn bare(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// An error page.
pub fn page(status: StatusCode, message: &str) -> Response<Body> {
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let (code, shown) = (status.as_u16(), escaped(&message));
    let html = format!(
        "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=iso-8859-1\"/>\n\
         <title>Error {code} {shown}</title>\n</head>\n<body><h2>HTTP ERROR {code} {shown}</h2>\n<table>\n\
         <tr><th>STATUS:</th><td>{code}</td></tr>\n<tr><th>MESSAGE:</th><td>{shown}</td></tr>\n</table>\n\n\
         </body>\n</html>\n"
    );
    let mut answer = Response::new(Body::from(html));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html;charset=iso-8859-1"),
    );
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("must-revalidate,no-cache,no-store"),
    );
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        _ => {}
    }
    let printable = |c: char| {
        if c.is_ascii() && !c.is_ascii_control() {
            c
        } else {
            '?'
        }
    };
    let reason: String = message.chars().map(printable).collect();
    if let Ok(reason) = ReasonPhrase::try_from(reason) {
        answer.extensions_mut().insert(reason);
    }
    answer
}

/// The connection ends with this answer, as the rest of the request is not read.
pub fn closing(mut answer: Response<Body>) -> Response<Body> {
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// As text of HTML in any charset.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&apos;"),
            _ if c.is_ascii() => html.push(c),
            _ => {
                let _ = write!(html, "&#{};", u32::from(c)); // into a String, which takes everything
            }
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_cannot_become_markup_or_a_header() {
        let answer = page(StatusCode::BAD_REQUEST, "<b a=\"é\">\r\nx: y&'");
        let reason = answer.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(reason.as_bytes(), b"<b a=\"?\">??x: y&'");
        assert_eq!(
            escaped("<b a=\"é\">\r\nx: y&'"),
            "&lt;b a=&quot;&#233;&quot;&gt;\r\nx: y&amp;&apos;"
        );
    }
}
