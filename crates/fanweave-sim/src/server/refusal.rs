//! The response that reports a problem.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::{JSON, Payload};
use super::dialect::Dialect;
use super::problem::Problem;

/// A response that reports the problem.
pub(super) fn refusal(problem: &Problem, dialect: Dialect, request_id: &str) -> Response<Payload> {
    let mut response = Response::new(Payload::whole(problem.body(dialect, request_id)));
    let status: StatusCode = problem.status(dialect);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if dialect == Dialect::Bedrock {
        let name = HeaderValue::from_static(problem.exception());
        response.headers_mut().insert("x-amzn-errortype", name);
    }
    response
}
