//! Who may connect: SCRAM-SHA-256 for users with a password, loopback only for users without one.
//!
//! An unknown user goes through the same exchange as a known one, with a salt made of its name, and fails at its end.

use std::sync::LazyLock;

use bytes::Bytes;
use model::catalog::{ScramVerifier, User};
use model::{Result, error, fail};
use pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};

const MECHANISM: &str = "SCRAM-SHA-256";

/// Random, made once: salts of unknown users must not change from one attempt to the next.
static UNKNOWN: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

/// One login.
pub(crate) enum Login {
    /// No password is asked for.
    Trusted,
    /// A SCRAM exchange that has not begun.
    Scram(Box<Exchange>),
}

/// A SCRAM exchange.
pub(crate) struct Exchange {
    user: String,
    iterations: usize,
    secret: Option<ScramSecret>,
    waiting: Option<ScramServerAuthWaitingForClientFinal>,
    known: bool,
}

impl Login {
    /// What `name`, coming from loopback or not, has to do.
    ///
    /// # Errors
    ///
    /// `InvalidAuthorizationSpecification` for a user without password who comes from elsewhere.
    pub(crate) fn begin(name: &str, user: Option<&User>, loopback: bool) -> Result<Self> {
        let verifier = match user {
            Some(User { password: Some(verifier), .. }) => Some(verifier.clone()),
            Some(_) if loopback => return Ok(Self::Trusted),
            Some(_) => {
                return Err(error!(InvalidAuthorizationSpecification, "user \"{name}\" has no password").with_hint(
                    "A user without a password may connect from loopback only: ALTER USER … PASSWORD '…'.",
                ));
            }
            None => None,
        };
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| unknown(name));
        Ok(Self::Scram(Box::new(Exchange {
            user: name.to_owned(),
            iterations: verifier.iterations as usize,
            secret: Some(ScramSecret::SaltedPassword {
                salt: verifier.salt,
                salted_password: verifier.salted_password,
            }),
            waiting: None,
            known,
        })))
    }
}

/// What is stored of a password.
pub(crate) fn verifier(password: &str) -> Result<ScramVerifier> {
    if password.is_empty() {
        fail!(InvalidParameterValue, "a password must not be empty");
    }
    let salt: [u8; 16] = rand::random();
    let salted_password = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
    Ok(ScramVerifier { iterations: SCRAM_ITERATIONS as u32, salt: salt.to_vec(), salted_password })
}

/// A verifier that no password fits.
fn unknown(name: &str) -> ScramVerifier {
    let key: String = UNKNOWN.iter().map(|byte| format!("{byte:02x}")).collect();
    let salt = gen_salted_password(name, key.as_bytes(), 1);
    ScramVerifier {
        iterations: SCRAM_ITERATIONS as u32,
        salt: salt[..16].to_vec(),
        salted_password: rand::random::<[u8; 32]>().to_vec(),
    }
}

impl Exchange {
    /// What the server offers.
    pub(crate) fn offer() -> Authentication {
        Authentication::SASL(vec![MECHANISM.to_owned()])
    }

    fn failed(&self) -> model::Error {
        error!(InvalidPassword, "password authentication failed for user \"{}\"", self.user)
    }

    /// Takes the next message of the client and gives the answer; true when the user is who it says.
    ///
    /// # Errors
    ///
    /// `InvalidPassword`; `ProtocolViolation` for a malformed message.
    pub(crate) fn step(&mut self, message: PasswordMessageFamily) -> Result<(Authentication, bool)> {
        let PasswordMessageFamily::Raw(body) = message else {
            fail!(ProtocolViolation, "expected SASL response");
        };
        let body = body.freeze();
        if let Some(waiting) = &self.waiting {
            let answer = waiting.on_client_final_message(&body).map_err(|fault| match fault {
                pgwire::error::PgWireError::InvalidPassword(_) => self.failed(),
                other => malformed(&other),
            })?;
            if !self.known {
                return Err(self.failed());
            }
            return Ok((Authentication::SASLFinal(Bytes::from(answer)), true));
        }
        let first = initial_response(&body)?;
        let mut server = ScramServerAuth::new();
        server.set_iterations(self.iterations);
        let secret = self.secret.take().ok_or_else(|| self.failed())?;
        let (answer, waiting) =
            server.on_client_first_message_with_secret(&first, secret).map_err(|fault| malformed(&fault))?;
        self.waiting = Some(waiting);
        Ok((Authentication::SASLContinue(Bytes::from(answer)), false))
    }
}

fn malformed(fault: &pgwire::error::PgWireError) -> model::Error {
    error!(ProtocolViolation, "malformed SCRAM message").with_detail(fault.to_string())
}

/// The data of SASLInitialResponse: mechanism, length, data.
fn initial_response(body: &Bytes) -> Result<Bytes> {
    let bad = || error!(ProtocolViolation, "malformed SCRAM message");
    let end = memchr::memchr(0, body).ok_or_else(bad)?;
    if &body[..end] != MECHANISM.as_bytes() {
        fail!(ProtocolViolation, "client selected an invalid SASL authentication mechanism");
    }
    let rest = body.slice(end + 1..);
    let length = rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize).ok_or_else(bad)?;
    if rest.len() != length + 4 {
        return Err(bad());
    }
    Ok(rest.slice(4..))
}
