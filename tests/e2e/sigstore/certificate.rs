//! Certificates as a Fulcio that errs would issue them.
use anyhow::Context as _;
use anyhow::Result;
use x509_cert::Certificate;
use x509_cert::TbsCertificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::BitString;
use x509_cert::der::asn1::OctetString;

use super::Sigstore;

/// The extension that holds signed certificate timestamps (RFC 6962, section 3.3).
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

impl Sigstore {
    /// A certificate with one thing changed, signed anew by Fulcio's key. No log has seen it.
    pub fn issue_anew(
        &self,
        certificate: &[u8],
        change: impl FnOnce(&mut TbsCertificate) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut certificate = Certificate::from_der(certificate)?;
        change(&mut certificate.tbs_certificate)?;
        let signature = self.pki.sign("fulcio", &certificate.tbs_certificate.to_der()?)?;
        certificate.signature = BitString::from_bytes(&signature)?;
        Ok(certificate.to_der()?)
    }
}

/// Changes the last byte of a certificate's signed certificate timestamp.
pub fn damage_sct(certificate: &mut TbsCertificate) -> Result<()> {
    let extensions = certificate.extensions.as_mut().context("there are no extensions")?;
    let list = extensions.iter_mut().find(|extension| extension.extn_id.to_string() == SCT_LIST);
    let list = list.context("there is no signed certificate timestamp")?;
    let mut bytes = list.extn_value.as_bytes().to_vec();
    *bytes.last_mut().context("the extension is empty")? ^= 1;
    list.extn_value = OctetString::new(bytes)?;
    Ok(())
}
