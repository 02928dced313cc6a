//! Reports of policies that were met, in few bytes: tens of thousands of them are kept.
use crate::policy::Policy;
use crate::verdict::AuthorityReport;
use crate::verdict::PolicyReport;
use crate::verdict::SignatureReport;
use crate::verdict::SignerReport;
use crate::verdict::Step;
use crate::verdict::StepOutcome;
use crate::verdict::StepReport;
use crate::verdict::Verdict;

/// Texts that stand in most reports; each takes one byte. A text that is none of them is kept as it
/// is, so that the list may fall behind what verification says and costs no more than bytes then.
const COMMON: [&str; 12] = [
    "",
    "a key needs no signing time",
    "a key, no certificate",
    "attached",
    "chain and usage",
    "chain, usage and SCT",
    "https://accounts.google.com",
    "https://github.com/login/oauth",
    "https://token.actions.githubusercontent.com",
    "no log entry",
    "none attached, none asked for",
    "under the certificate's key, over this image",
];

/// The first byte of a text: below, one of [`COMMON`]; from here on, its length is added.
const SHORT: usize = 32;

/// The first byte of a text whose length follows in two more.
const LONG: u8 = u8::MAX;

const FORMATS: [&str; 2] = ["legacy", "bundle"];

const OUTCOMES: [StepOutcome; 3] =
    [StepOutcome::Passed, StepOutcome::NotRequired, StepOutcome::Failed];

/// What is needed to make the report again: of each authority that is met, the signatures that were
/// verified. `None` where the policy is not met, or the report is none of its own.
pub(super) fn pack(policy: &Policy, report: &PolicyReport) -> Option<Box<[u8]>> {
    let PolicyReport { verdict, failure, authorities, .. } = report;
    if *verdict != Verdict::Verified || failure.is_some() {
        return None;
    }
    let met: Vec<_> = authorities.iter().filter(|one| one.verdict == Verdict::Verified).collect();
    let mut out = Writer(Vec::new());
    out.number(met.len())?;
    for authority in met {
        let AuthorityReport { name, platform, verdict: _, failure: _, signatures } = authority;
        out.number(policy.authorities.iter().position(|own| own.name == *name)?)?;
        out.optional(platform.as_deref())?;
        let verified = signatures.iter().filter(|one| one.verdict == Verdict::Verified);
        out.number(verified.clone().count())?;
        verified.map(|signature| out.signature(signature)).collect::<Option<()>>()?;
    }
    let Writer(bytes) = out;
    Some(bytes.into_boxed_slice())
}

/// The report again; `note` stands before the steps of each signature.
pub(super) fn unpack(
    policy: &Policy,
    bytes: &[u8],
    note: &StepReport,
    stale: bool,
) -> Option<PolicyReport> {
    let mut from = Reader(bytes);
    let authorities = from.many(|from| {
        Some(AuthorityReport {
            name: policy.authorities.get(from.number()?)?.name.clone(),
            platform: from.optional()?,
            verdict: Verdict::Verified,
            failure: None,
            signatures: from.many(|from| from.signature(note))?,
        })
    })?;
    Some(PolicyReport { authorities, ..brief(policy, stale) })
}

/// The report without its authorities: that the policy was met, and no more.
pub(super) fn brief(policy: &Policy, stale: bool) -> PolicyReport {
    PolicyReport {
        stale,
        policy: policy.id.to_string(),
        mode: policy.mode,
        verdict: Verdict::Verified,
        on_unavailable: policy.on_unavailable,
        failure: None,
        authorities: Vec::new(),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, value: usize) -> Option<()> {
        self.0.push(u8::try_from(value).ok()?);
        Some(())
    }

    fn number(&mut self, value: usize) -> Option<()> {
        self.0.extend(u16::try_from(value).ok()?.to_le_bytes());
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        if let Some(index) = COMMON.iter().position(|common| *common == text) {
            return self.byte(index);
        }
        match u8::try_from(SHORT + text.len()) {
            Ok(first) if first < LONG => self.0.push(first),
            Ok(_) | Err(_) => {
                self.0.push(LONG);
                self.number(text.len())?;
            }
        }
        self.0.extend(text.as_bytes());
        Some(())
    }

    fn optional(&mut self, text: Option<&str>) -> Option<()> {
        self.byte(usize::from(text.is_some()))?;
        text.map_or(Some(()), |text| self.text(text))
    }

    fn signature(&mut self, signature: &SignatureReport) -> Option<()> {
        let SignatureReport { source, attestation, format, verdict: _, signer, steps } = signature;
        if attestation.is_some() {
            return None;
        }
        self.byte(FORMATS.iter().position(|known| known == format)?)?;
        self.text(source)?;
        match signer.as_ref()? {
            SignerReport::Key { fingerprint } => {
                self.byte(0)?;
                self.text(fingerprint)?;
            }
            SignerReport::Certificate { issuer, subject } => {
                self.byte(1)?;
                self.text(issuer)?;
                self.text(subject)?;
            }
        }
        self.number(steps.len())?;
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&mut self, report: &StepReport) -> Option<()> {
        let StepReport { step, outcome, reason, found, wanted } = report;
        if reason.is_some() || !wanted.is_empty() {
            return None;
        }
        let outcome = OUTCOMES.iter().position(|known| known == outcome)?;
        let step = Step::ALL.iter().position(|known| known == step)?;
        self.byte(outcome * Step::ALL.len() + step)?;
        self.text(found)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1)?.first().map(|byte| usize::from(*byte))
    }

    fn number(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes(self.take(2)?.try_into().ok()?)))
    }

    fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| read(self)).collect()
    }

    fn text(&mut self) -> Option<String> {
        let first = self.byte()?;
        if let Some(common) = COMMON.get(first) {
            return Some((*common).to_owned());
        }
        let length = match first {
            first if first == usize::from(LONG) => self.number()?,
            first => first.checked_sub(SHORT)?,
        };
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn optional(&mut self) -> Option<Option<String>> {
        match self.byte()? {
            0 => Some(None),
            _ => self.text().map(Some),
        }
    }

    fn signature(&mut self, note: &StepReport) -> Option<SignatureReport> {
        let format = FORMATS.get(self.byte()?)?;
        let source = self.text()?;
        let signer = match self.byte()? {
            0 => SignerReport::Key { fingerprint: self.text()? },
            _ => SignerReport::Certificate { issuer: self.text()?, subject: self.text()? },
        };
        let count = self.number()?;
        let mut steps = Vec::with_capacity(count + 1);
        steps.push(note.clone());
        for _ in 0..count {
            steps.push(self.step()?);
        }
        Some(SignatureReport {
            source,
            attestation: None,
            format,
            verdict: Verdict::Verified,
            signer: Some(signer),
            steps,
        })
    }

    fn step(&mut self) -> Option<StepReport> {
        let both = self.byte()?;
        Some(StepReport {
            step: *Step::ALL.get(both % Step::ALL.len())?,
            outcome: *OUTCOMES.get(both / Step::ALL.len())?,
            reason: None,
            found: self.text()?,
            wanted: String::new(),
        })
    }
}
