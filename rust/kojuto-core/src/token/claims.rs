//! The claims of a token.

use super::form::is_name;
use super::{Object, Value, Verdict};

/// Seconds since 1970 at the end of the year 9999.
const MAX_DATE: f64 = 253_402_300_799.0;

/// What is asked of a token.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// How long ago it may have been issued.
    pub freshness_s: f64,
    /// Allowed difference of clocks for `exp` and the age.
    pub late_s: f64,
    /// Allowed difference of clocks for `iat` and `nbf`.
    pub early_s: f64,
    /// Values of the header's `typ`, in lower case.
    pub kinds: Vec<String>,
    /// Claims with the values of which it must have one.
    pub require: Vec<(String, Vec<String>)>,
}

/// From and until when a token stays good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Life {
    /// The first moment.
    pub begins_s: f64,
    /// The moment behind the last one.
    pub ends_s: f64,
}

/// The `sub` of claims, with the names that stand beside it looked at.
///
/// # Errors
/// One of them is wrong.
pub fn subject(claims: &Object) -> Result<&str, Verdict> {
    check_names(claims)?;
    match claims.get("sub") {
        Some(Value::Text(sub)) => Ok(sub),
        _ => Verdict::refused("the claim sub is missing"),
    }
}

impl Policy {
    /// How long claims are good that are good now.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self, claims: &Object, now_s: f64) -> Result<Life, Verdict> {
        let life = self.times(claims, now_s)?;
        check_names(claims)?;
        for (name, allowed) in &self.require {
            let fits = |value: &Value| matches!(value, Value::Text(text) if allowed.contains(text));
            let good = match claims.get(name) {
                Some(Value::List(held)) if name == "aud" => held.iter().any(fits),
                Some(value) => fits(value),
                None => false,
            };
            if !good {
                let why = format!("the claim {name} does not have a required value");
                return Err(Verdict::Refused(why));
            }
        }
        Ok(life)
    }

    fn times(&self, claims: &Object, now_s: f64) -> Result<Life, Verdict> {
        let (expires, issued) = (date(claims, "exp")?, date(claims, "iat")?);
        let begins = date(claims, "nbf")?;
        let Some(expires) = expires else { return Verdict::refused("the claim exp is missing") };
        let Some(issued) = issued else { return Verdict::refused("the claim iat is missing") };
        if now_s >= expires + self.late_s {
            return Verdict::refused("the token has expired");
        }
        if issued > now_s + self.early_s {
            return Verdict::refused("the token was issued in the future");
        }
        if now_s - issued > self.freshness_s + self.late_s {
            return Verdict::refused("the token is not fresh enough");
        }
        if begins.is_some_and(|begins| now_s < begins - self.early_s) {
            return Verdict::refused("the token is not valid yet");
        }
        Ok(Life {
            begins_s: begins.unwrap_or(0.0).max(issued) - self.early_s,
            ends_s: expires.min(issued + self.freshness_s) + self.late_s,
        })
    }
}

fn date(claims: &Object, name: &str) -> Result<Option<f64>, Verdict> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(date)) if date.abs() <= MAX_DATE => Ok(Some(*date)),
        Some(Value::Number(_)) => {
            Err(Verdict::Refused(format!("the claim {name} is not a date before the year 10000")))
        }
        Some(_) => Err(Verdict::Refused(format!("the claim {name} is not a number"))),
    }
}

fn check_names(claims: &Object) -> Result<(), Verdict> {
    let printable = |value: &Value| match value {
        Value::Text(text) => is_name(text).ok_or(Verdict::Unsure),
        _ => Ok(false),
    };
    for name in ["sub", "iss", "jti"] {
        if let Some(value) = claims.get(name)
            && !printable(value)?
        {
            let why = format!("the claim {name} is not a short printable string");
            return Err(Verdict::Refused(why));
        }
    }
    let audience = match claims.get("aud") {
        None => true,
        Some(Value::List(names)) => {
            let mut good = !names.is_empty();
            for name in names {
                good = good && printable(name)?;
            }
            good
        }
        Some(name) => printable(name)?,
    };
    if !audience {
        return Verdict::refused("the claim aud is neither a string nor a list of strings");
    }
    if claims.get("nonce").is_some() {
        return Verdict::refused("the token has a nonce, so it is an ID token of a log-in");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, policy: &Policy) -> Result<Life, Verdict> {
        policy.check(&Object::read(text.as_bytes(), "payload").unwrap(), 1000.0)
    }

    fn policy() -> Policy {
        Policy { freshness_s: 100.0, early_s: 60.0, ..Policy::default() }
    }

    #[test]
    fn a_token_is_good_from_its_beginning_to_its_end() {
        let life = |begins_s, ends_s| Ok(Life { begins_s, ends_s });
        assert_eq!(check(r#"{"exp":1001,"iat":990}"#, &policy()), life(930.0, 1001.0));
        assert_eq!(
            check(r#"{"exp":9999,"iat":990.5,"nbf":1060}"#, &policy()),
            life(1000.0, 1090.5)
        );
        let late = Policy { late_s: 30.0, early_s: 30.0, ..policy() };
        assert_eq!(check(r#"{"exp":971,"iat":880}"#, &late), life(850.0, 1001.0));
    }

    #[test]
    fn each_wrong_claim_has_its_reason() {
        let required = Policy {
            require: vec![("aud".to_owned(), vec!["api".to_owned(), "web".to_owned()])],
            ..policy()
        };
        for (text, policy, why) in [
            (r#"{"iat":990}"#, policy(), "the claim exp is missing"),
            (r#"{"exp":1001}"#, policy(), "the claim iat is missing"),
            (r#"{"exp":1000,"iat":990}"#, policy(), "the token has expired"),
            (r#"{"exp":1001,"iat":1061}"#, policy(), "the token was issued in the future"),
            (r#"{"exp":1001,"iat":899}"#, policy(), "the token is not fresh enough"),
            (r#"{"exp":1001,"iat":990,"nbf":1061}"#, policy(), "the token is not valid yet"),
            (r#"{"exp":true,"iat":990}"#, policy(), "the claim exp is not a number"),
            (
                r#"{"exp":1e400,"iat":1}"#,
                policy(),
                "the claim exp is not a date before the year 10000",
            ),
            (
                r#"{"exp":1001,"iat":990,"aud":"x"}"#,
                required.clone(),
                "the claim aud does not have a required value",
            ),
            (
                r#"{"exp":1001,"iat":990,"aud":[]}"#,
                policy(),
                "the claim aud is neither a string nor a list of strings",
            ),
            (
                r#"{"exp":1001,"iat":990,"iss":1}"#,
                policy(),
                "the claim iss is not a short printable string",
            ),
            (
                r#"{"exp":1001,"iat":990,"nonce":""}"#,
                policy(),
                "the token has a nonce, so it is an ID token of a log-in",
            ),
        ] {
            assert_eq!(check(text, &policy), Verdict::refused(why), "{text}");
        }
        assert!(check(r#"{"exp":1001,"iat":990,"aud":["x","web"]}"#, &required).is_ok());
        assert_eq!(
            check("{\"exp\":1001,\"iat\":990,\"jti\":\"\u{200b}\"}", &policy()),
            Err(Verdict::Unsure)
        );
    }
}
