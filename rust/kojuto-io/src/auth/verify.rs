//! New tokens checked without Python: signatures by ring, form and claims by the core.
//!
//! What ring does not check (P-521, keys below 2048 or above 8192 bits) is left to Python, as is
//! what the core leaves to it.

use std::collections::{HashMap, HashSet};

use kojuto_core::token::{Life, Object, Parts, Policy, Value, Verdict, subject};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

/// A public key with one of the algorithms that it may check.
#[derive(Clone)]
pub struct Key {
    /// Its name (RFC 7518, 3.1; RFC 8037, 3.1).
    pub algorithm: String,
    /// The key's name in a set; a token has to name it.
    pub kid: Option<String>,
    /// How ring takes it: PKCS #1 for RSA, an uncompressed point for EC, 32 bytes for Ed25519;
    /// None for a key that only Python can use.
    pub public: Option<Vec<u8>>,
}

/// Who may have signed the tokens of a service, and what is asked of them.
#[derive(Clone, Default)]
pub struct Signers {
    /// Any of them.
    pub keys: Vec<Key>,
    /// What is asked of a token.
    pub policy: Policy,
    /// Claims whose texts go into headers of the answer, by position.
    pub shown: Vec<String>,
    /// The keys are renewed: a token that none of them fits may be signed by a newer one.
    pub renewed: bool,
}

/// What comes of a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// It is good.
    Good {
        /// The service it names.
        service: usize,
        /// How long it is good.
        life: Life,
        /// The texts of the claims that are shown.
        shown: Vec<Option<String>>,
    },
    /// Its form, name or signature is wrong, and always will be.
    Bad(String),
    /// Its signature is right, a claim is wrong now.
    Refused(String),
    /// Python has to check it.
    Unsure,
}

fn algorithm(name: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match name {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        "EdDSA" | "Ed25519" => &ED25519,
        _ => return None,
    })
}

/// The services, by name, with those who sign for them.
#[derive(Default)]
pub struct Verifier {
    names: HashMap<String, usize>,
    signers: Vec<Signers>,
    /// Of each algorithm: the most keys that one service has, and a key to spend time with.
    most: HashMap<String, (usize, Vec<u8>)>,
    /// Algorithms of keys that only Python can use.
    foreign: HashSet<String>,
}

impl Verifier {
    /// A verifier; the services are known by their places.
    pub fn new(services: Vec<(String, Signers)>) -> Verifier {
        let mut found = Verifier::default();
        for (at, (name, signers)) in services.into_iter().enumerate() {
            for key in &signers.keys {
                if let Some(public) = &key.public {
                    let same = |other: &&Key| other.algorithm == key.algorithm;
                    let count = signers.keys.iter().filter(same).count();
                    let known = found.most.entry(key.algorithm.clone());
                    let (most, _) = known.or_insert_with(|| (0, public.clone()));
                    *most = (*most).max(count);
                } else {
                    found.foreign.insert(key.algorithm.clone());
                }
            }
            found.names.insert(name, at);
            found.signers.push(signers);
        }
        found
    }

    /// Checks a token.
    ///
    /// One that names no service, or that its service has not signed, costs as many verifications
    /// as one of the service with the most keys of that kind: the time tells no names.
    pub fn judge(&self, token: &[u8], now_s: f64) -> Judged {
        match self.try_judge(token, now_s) {
            Ok(judged) => judged,
            Err(Verdict::Refused(why)) => Judged::Bad(why),
            Err(Verdict::Unsure) => Judged::Unsure,
        }
    }

    fn try_judge(&self, token: &[u8], now_s: f64) -> Result<Judged, Verdict> {
        let parts = Parts::read(token)?;
        let claims = Object::read(&parts.claims, "payload")?;
        let sub = subject(&claims)?;
        let named = self.names.get(sub).map(|&at| (at, &self.signers[at]));
        let Some((service, signers)) = named else {
            if self.foreign.contains(&parts.algorithm) {
                return Ok(Judged::Unsure); // it takes Python's time, as of a service that is there
            }
            self.spend(&parts, 0);
            return refused("the claim sub names no service");
        };
        if let Err(wrong) = parts.check_kind(&signers.policy.kinds) {
            self.spend(&parts, 0);
            return Err(wrong);
        }
        let mut tried = 0;
        let mut good = false;
        for key in signers.keys.iter().filter(|key| fits(&parts, key)) {
            let (Some(public), Some(algorithm)) = (&key.public, algorithm(&key.algorithm)) else {
                return Ok(Judged::Unsure);
            };
            tried += 1;
            good = verify(algorithm, public, &parts);
            if good {
                break;
            }
        }
        if tried == 0 && (signers.renewed || self.foreign.contains(&parts.algorithm)) {
            return Ok(Judged::Unsure);
        }
        if !good {
            self.spend(&parts, tried);
            let why = ["the signature is wrong", "no key fits the token's alg and kid"];
            return refused(why[usize::from(tried == 0)]);
        }
        let life = match signers.policy.check(&claims, now_s) {
            Ok(life) => life,
            Err(Verdict::Refused(why)) => return Ok(Judged::Refused(why)),
            Err(Verdict::Unsure) => return Ok(Judged::Unsure),
        };
        let text = |name: &String| match claims.get(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        Ok(Judged::Good { service, life, shown: signers.shown.iter().map(text).collect() })
    }

    /// Takes the time of the verifications that the service with the most keys would have cost.
    fn spend(&self, parts: &Parts<'_>, tried: usize) {
        let Some((most, public)) = self.most.get(&parts.algorithm) else { return };
        let Some(algorithm) = algorithm(&parts.algorithm) else { return };
        for _ in tried..*most {
            std::hint::black_box(verify(algorithm, public, parts));
        }
    }
}

/// The first of these keys that has signed a token of the plain form, and the token's payload, whose
/// claims are not looked at. None: it is for Python to say what is wrong, if anything is.
pub fn signed_by(keys: &[Key], token: &[u8]) -> Option<(usize, Vec<u8>)> {
    let parts = Parts::read(token).ok().filter(Parts::is_plain)?;
    let has_signed = |key: &Key| {
        let (Some(public), Some(algorithm)) = (&key.public, algorithm(&key.algorithm)) else {
            return false;
        };
        fits(&parts, key) && verify(algorithm, public, &parts)
    };
    let at = keys.iter().position(has_signed)?;
    Some((at, parts.claims))
}

fn refused<T>(why: &str) -> Result<T, Verdict> {
    Err(Verdict::Refused(why.to_owned()))
}

fn fits(parts: &Parts<'_>, key: &Key) -> bool {
    key.algorithm == parts.algorithm && (key.kid.is_none() || key.kid == parts.kid)
}

fn verify(algorithm: &'static dyn VerificationAlgorithm, public: &[u8], parts: &Parts<'_>) -> bool {
    UnparsedPublicKey::new(algorithm, public).verify(parts.signed, &parts.signature).is_ok()
}
