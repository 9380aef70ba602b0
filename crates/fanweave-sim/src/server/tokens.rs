//! Access tokens of Google, for requests to Vertex AI: issued here, and valid for an hour.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::signature::{hex, mac};

const PREFIX: &str = "ya29.sim-";

/// Validity of a token.
const VALIDITY: Duration = Duration::from_secs(3600);

/// The answer to a request for a token. A token names its end, and is signed with the key of the account.
pub(super) fn issue(key: &str, now: SystemTime) -> Vec<u8> {
    let end = seconds(now + VALIDITY).to_string();
    let token = format!("{PREFIX}{end}-{}", signature(key, &end));
    json!({ "access_token": token, "expires_in": VALIDITY.as_secs(), "token_type": "Bearer" })
        .to_string()
        .into_bytes()
}

/// Returns true for a token that was issued with this key and has not expired.
pub(super) fn is_valid(token: &str, key: &str, now: SystemTime) -> bool {
    let parts = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(end, signed)| {
        signed == signature(key, end) && end.parse().is_ok_and(|end: u64| seconds(now) < end)
    })
}

fn signature(key: &str, end: &str) -> String {
    hex(&mac(key.as_bytes(), end.as_bytes()))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_an_hour_and_for_its_account() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let issued: serde_json::Value = serde_json::from_slice(&issue("k", now)).unwrap();
        let token = issued["access_token"].as_str().unwrap();
        assert!(is_valid(token, "k", now));
        assert!(!is_valid(token, "another", now));
        assert!(!is_valid(token, "k", now + VALIDITY));
        assert!(!is_valid("ya29.sim-9999999999-00", "k", now));
    }
}
