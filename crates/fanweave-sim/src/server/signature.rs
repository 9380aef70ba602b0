//! Verification of AWS signatures (version 4), from the bytes that arrived.
//!
//! Source: the AWS documentation "Create a signed AWS API request".

use std::time::{Duration, SystemTime};

use hyper::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Block size of SHA-256, for keys of HMAC.
const BLOCK: usize = 64;

/// Maximum difference of the clocks. Source: AWS.
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);

/// Bytes of a path that are encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Verifies the signature of a request with the secret key of its account. An error says what is wrong.
pub(super) fn verify(head: &Parts, body: &[u8], secret: &str, now: SystemTime) -> Result<(), String> {
    let header = |name: &str| {
        let values: Vec<_> =
            head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        let words: Vec<_> =
            values.iter().map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        (!words.is_empty()).then(|| words.join(","))
    };
    let authorization = header("authorization").ok_or("Missing Authentication Token")?;
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("Unsupported signature algorithm")?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name));
        found.ok_or_else(|| {
            format!("Authorization header requires '{}' parameter.", name.trim_end_matches('='))
        })
    };
    let (credential, signed, signature) =
        (field("Credential=")?, field("SignedHeaders=")?, field("Signature=")?);
    let date = header("x-amz-date")
        .ok_or("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")?;
    let (_, scope) = credential.split_once('/').ok_or("Credential must have a scope")?;
    let parts: Vec<_> = scope.split('/').collect();
    let [day, _region, "bedrock", "aws4_request"] = parts.as_slice() else {
        return Err(format!(
            "Credential should be scoped to a valid region and the service bedrock, not {scope}"
        ));
    };
    let time = instant(&date).ok_or("X-Amz-Date must be in ISO 8601")?;
    if !date.starts_with(day) {
        return Err(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date".to_owned()
        );
    }
    if now.duration_since(time).or(time.duration_since(now)).is_ok_and(|skew| skew > MAX_SKEW) {
        return Err(format!("Signature expired: {date}"));
    }
    if !signed.split(';').any(|name| name == "host") {
        return Err("'host' must be a signed header".to_owned());
    }
    let mut lines = String::new();
    for name in signed.split(';') {
        let value = header(name).ok_or_else(|| format!("the signed header {name} is missing"))?;
        lines += &format!("{name}:{value}\n");
    }
    let path = utf8_percent_encode(head.uri.path(), ENCODED);
    let mut query: Vec<_> =
        head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let (method, query, body) = (&head.method, query.join("&"), hex(&Sha256::digest(body)));
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{body}");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let key = parts.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part.as_bytes()));
    if hex(&mac(&key, text.as_bytes())) == signature {
        return Ok(());
    }
    Err("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method."
        .to_owned())
}

/// HMAC with SHA-256.
pub(super) fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |byte: u8| block.map(|key| key ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time of `20150830T123600Z`.
fn instant(date: &str) -> Option<SystemTime> {
    let digits = |range: std::ops::Range<usize>| date.get(range);
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    /// Test case 2 of RFC 4231.
    #[test]
    fn the_mac_is_that_of_the_standard() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&mac(b"Jefe", b"what do ya want for nothing?")), expected);
    }

    #[test]
    fn only_the_signed_request_is_accepted() {
        const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let now = instant("20150830T123600Z").unwrap();
        let sign = |text: &str| {
            let key = ["20150830", "us-east-1", "bedrock", "aws4_request"];
            let key =
                key.iter().fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part.as_bytes()));
            hex(&mac(&key, text.as_bytes()))
        };
        // Written out, so that a fault of the verifier is not repeated here.
        let canonical = format!(
            "POST\n/model/a%253Ab/converse\n\nhost:h\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n{}",
            hex(&Sha256::digest(b"{}"))
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/bedrock/aws4_request\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let request = |signature: &str| {
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/bedrock/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            let request = Request::post("/model/a%3Ab/converse")
                .header("host", "h")
                .header("x-amz-date", "20150830T123600Z")
                .header("authorization", authorization);
            request.body(()).unwrap().into_parts().0
        };
        let signed = request(&sign(&text));
        assert_eq!(verify(&signed, b"{}", SECRET, now), Ok(()));
        assert!(verify(&signed, b"{ }", SECRET, now).is_err(), "another body");
        assert!(verify(&signed, b"{}", "another secret", now).is_err());
        assert!(verify(&signed, b"{}", SECRET, now + MAX_SKEW * 2).unwrap_err().contains("expired"));
        assert!(verify(&request("00"), b"{}", SECRET, now).is_err());
    }
}
