//! Why a response is refused.

/// Why a response is refused. No variant carries what the response says about a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseRefusal {
    #[error("The response is larger than {0} bytes.")]
    TooLarge(usize),
    #[error("SAMLResponse is not base64 of a text in UTF-8.")]
    NotBase64,
    #[error("The document declares a DOCTYPE or entities, or holds processing instructions.")]
    MarkupDeclaration,
    #[error("The document is not well-formed XML, or is nested too deeply.")]
    Malformed,
    #[error("The document has too many elements.")]
    TooManyElements,
    #[error("The document is not a Response of SAML 2.0.")]
    NotAResponse,
    #[error("Two elements have the same ID.")]
    DuplicateId,
    #[error(
        "Elements are in unexpected places, as in attacks that wrap a signature: exactly one \
         assertion is accepted, directly in the response, and signatures only directly in these \
         two."
    )]
    Structure,
    #[error("Neither the response nor its assertion is signed.")]
    Unsigned,
    #[error("The signature has a form that is not accepted: {0}.")]
    SignatureForm(&'static str),
    #[error("The signature or encryption uses an algorithm that is not accepted.")]
    Algorithm,
    #[error("A digest does not fit: the signed content was changed.")]
    Digest,
    #[error("The signature does not verify with any certificate of the identity provider.")]
    Signature,
    #[error("The assertion is encrypted, and cannot be decrypted with the connection's keys.")]
    Decryption,
    #[error("The identity provider answers that the sign-in failed ({0}).")]
    Status(String),
    #[error("The response or assertion was not issued by the connection's identity provider.")]
    Issuer,
    #[error("The response was sent to another address than the connection's.")]
    Destination,
    #[error("The assertion is meant for another service (its audience).")]
    Audience,
    #[error("The assertion is not valid yet: the clocks differ by more than the allowed skew.")]
    NotYetValid,
    #[error("The assertion has expired.")]
    Expired,
    #[error("The assertion is valid for longer than a day.")]
    LongLived,
    #[error("The response does not answer the expected request.")]
    Request,
    #[error("The response answers a request, and no request was expected.")]
    UnexpectedRequest,
    #[error("No bearer confirmation of the subject fits: {0}.")]
    Confirmation(&'static str),
    #[error("The assertion lacks {0}, or has more than one, or an unreadable one.")]
    Incomplete(&'static str),
    #[error("The assertion has a condition that this server does not know.")]
    Condition,
    #[error("The NameID or an attribute is encrypted separately, which is not supported.")]
    EncryptedPart,
}
