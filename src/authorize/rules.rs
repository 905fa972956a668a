//! A list of rules, and what it decides.

use std::sync::Arc;

use super::{
    facts::{Caller, Facts},
    matching::{self, Permission, Principal},
};
use crate::{
    config::{Action, Authorization, AuthorizationRule, Evaluation},
    core::AuthorizationVerdict as Verdict,
};

/// Compiled rules.
#[derive(Debug)]
pub(crate) struct Rules {
    evaluation: Evaluation,
    rules: Vec<Rule>,
    /// What happens when no rule decides, and when none does and the dry ones count, too.
    otherwise: Action,
    otherwise_dry: Action,
    has_dry: bool,
    has_logs: bool,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Rule {
    name: Arc<str>,
    action: Action,
    dry_run: bool,
    principals: Vec<Principal>,
    permissions: Vec<Permission>,
}

/// What rules have decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) allowed: bool,
    by: By<'a>,
}

#[derive(Clone, Copy, Debug)]
enum By<'a> {
    Rule(&'a Rule),
    /// The rule denies, and whether it is met is not known.
    Unsure(&'a Rule),
    /// No rule decides.
    Nothing,
}

// === impl Rules ===

impl Rules {
    /// Compiles validated rules.
    ///
    /// # Errors
    ///
    /// What cannot be compiled. Nobody may call by the rest of them then.
    pub(crate) fn new(said: &Authorization) -> Result<Self, String> {
        let rules = said.rules.iter().enumerate();
        let rules = rules.map(|(place, rule)| Rule::new(place, rule));
        let rules: Vec<Rule> = rules.collect::<Result<_, _>>()?;
        //= Istio AuthorizationPolicy: any policy that allows makes everything else forbidden
        let otherwise = |dry: bool| {
            let allows = |rule: &Rule| rule.action == Action::Allow && (dry || !rule.dry_run);
            let strict = if rules.iter().any(allows) { Action::Deny } else { Action::Allow };
            said.otherwise.unwrap_or(strict)
        };
        Ok(Self {
            evaluation: said.evaluation,
            otherwise: otherwise(false),
            otherwise_dry: otherwise(true),
            has_dry: rules.iter().any(|rule| rule.dry_run && rule.action != Action::Log),
            has_logs: rules.iter().any(|rule| rule.action == Action::Log),
            rules,
        })
    }

    /// Whether the call may be made.
    pub(crate) fn decide(&self, facts: &Facts<'_>) -> Decision<'_> {
        self.judge(facts, false)
    }

    /// Tells what is to be reported of a call beside that it may be made.
    pub(crate) fn report(
        &self,
        facts: &Facts<'_>,
        decided: &Decision<'_>,
        mut tell: impl FnMut(Verdict, Option<&Arc<str>>),
    ) {
        if !decided.allowed {
            tell(Verdict::Denied, decided.rule());
        } else if self.otherwise == Action::Log && matches!(decided.by, By::Nothing) {
            tell(Verdict::Logged, None);
        }
        if self.has_logs {
            let logs = self.rules.iter().filter(|rule| rule.action == Action::Log);
            // What may be met is noted rather than missed.
            for rule in logs.filter(|rule| rule.is_met(facts) != Some(false)) {
                tell(Verdict::Logged, Some(&rule.name));
            }
        }
        if self.has_dry {
            let dry = self.judge(facts, true);
            if dry.is_by_dry() || dry.allowed != decided.allowed {
                let verdict = if dry.allowed { Verdict::WouldAllow } else { Verdict::WouldDeny };
                tell(verdict, dry.rule());
            }
        }
    }

    /// Decides, by the dry rules as well, if they count.
    fn judge(&self, facts: &Facts<'_>, dry: bool) -> Decision<'_> {
        let rules = || {
            let rules = self.rules.iter().filter(move |rule| dry || !rule.dry_run);
            rules.filter(|rule| rule.action != Action::Log)
        };
        let decided = match self.evaluation {
            Evaluation::FirstMatch => rules().find_map(|rule| rule.decides(facts)),
            Evaluation::DenyWins => {
                let of = |action| rules().filter(move |rule| rule.action == action);
                let each = of(Action::Deny).chain(of(Action::Allow));
                each.into_iter().find_map(|rule| rule.decides(facts))
            }
        };
        let otherwise = if dry { self.otherwise_dry } else { self.otherwise };
        decided.unwrap_or(Decision { allowed: otherwise != Action::Deny, by: By::Nothing })
    }

    /// Those that a call must be judged by, for a reader: their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&Arc<str>, Action, bool)> {
        self.rules.iter().map(|rule| (&rule.name, rule.action, rule.dry_run))
    }

    pub(crate) fn otherwise(&self) -> Action {
        self.otherwise
    }
}

// === impl Rule ===

impl Rule {
    fn new(place: usize, said: &AuthorizationRule) -> Result<Self, String> {
        let name = said.name.clone().unwrap_or_else(|| format!("rule {}", place + 1));
        if said.condition.is_some() {
            return Err(format!("the condition of {name} is not supported yet"));
        }
        let principals = matching::list(&said.principals, Principal::new)?;
        let permissions = matching::list(&said.permissions, Permission::new)?;
        let (action, dry_run) = (said.action, said.dry_run);
        Ok(Self { name: name.into(), action, dry_run, principals, permissions })
    }

    fn is_met(&self, facts: &Facts<'_>) -> Option<bool> {
        matching::is_met(&self.principals, &self.permissions, facts)
    }

    /// What it decides, if it does. In doubt a rule denies, and does not allow.
    fn decides(&self, facts: &Facts<'_>) -> Option<Decision<'_>> {
        let denies = self.action == Action::Deny;
        match self.is_met(facts) {
            Some(true) => Some(Decision { allowed: !denies, by: By::Rule(self) }),
            None if denies => Some(Decision { allowed: false, by: By::Unsure(self) }),
            Some(false) | None => None,
        }
    }
}

// === impl Decision ===

impl<'a> Decision<'a> {
    /// The name of the rule that has decided; none: no rule has.
    pub(crate) fn rule(&self) -> Option<&'a Arc<str>> {
        match self.by {
            By::Rule(rule) | By::Unsure(rule) => Some(&rule.name),
            By::Nothing => None,
        }
    }

    fn is_by_dry(&self) -> bool {
        matches!(self.by, By::Rule(rule) | By::Unsure(rule) if rule.dry_run)
    }

    /// Why, in words.
    pub(crate) fn words(&self, facts: &Facts<'_>) -> String {
        let (own, caller) = match facts.connection {
            None => ("the own", "this process"),
            Some(_) => ("the caller's", "the caller"),
        };
        let who = match facts.caller {
            Caller::Unknown => format!("{own} identity is not known yet"),
            Caller::Nobody => format!("{caller} has no identity"),
            Caller::Known(who) => format!("{caller} is {}", who.shown()),
        };
        match (self.by, self.allowed) {
            (By::Rule(rule), true) => format!("rule `{}` allows it", rule.name),
            (By::Rule(rule), false) => format!("rule `{}` denies it", rule.name),
            (By::Unsure(rule), _) => {
                let why = match facts.caller {
                    Caller::Unknown => who,
                    Caller::Nobody | Caller::Known(_) => {
                        format!("its path, its host or {caller}'s id can be read in two ways")
                    }
                };
                format!("rule `{}` may deny it: {why}", rule.name)
            }
            (By::Nothing, true) => "no rule denies it".to_owned(),
            (By::Nothing, false) => format!("no rule allows it; {who}"),
        }
    }
}
