"""Phrases: how the crew puts things. An honest agent and one that works against the crew take them from the same."""

SHARE = (
    "The {label} is {value}, from {source}",
    "By {source} the {label} is {value}",
    "I have {value} as the {label}, from {source}",
    "{Source}: the {label} is {value}",
    "Put the {label} at {value}; that is from {source}",
    "I read it in {source}: the {label} is {value}",
    "{value} is the {label}, if {source} is right",
)
SHARE_TWO = (
    "The {label} is {value} and the {label2} is {value2}, both from {source}",
    "By {source} the {label} is {value}, and the {label2} is {value2}",
    "From {source}: {label}: {value}, and {label2}: {value2}",
    "I have {value} as the {label} and {value2} as the {label2}, from {source}",
    "{Source} gives two figures: the {label} is {value}, the {label2} is {value2}",
)
RECALL = (
    "The {label} is {value}",
    "Once more from me: the {label} is {value}",
    "I said it before, the {label} is {value}",
    "For those who missed it: the {label} is {value}",
)
RELAY = (
    "{name} said it: the {label} is {value}{dated}",
    "I go by {name}, the {label} is {value}{dated}",
    "Agreed with {name}: the {label} is {value}{dated}",
    "{name}, I take {value} as the {label} from you{dated}",
    "As {name} has it{dated}, the {label} is {value}",
    "With {name} I put the {label} at {value}{dated}",
)
DATED = ("", "", " by the paper of {date}", ", as dated {date}", " ({date})")
CORRECT = (
    "{name}, the {label} is {value}, not {other}; I have it from {source}",
    "{name} gave {other}, but the {label} is {value} by {source}",
    "I must correct {name}: the {label} is {value}, not {other}, says {source}",
    "A correction for {name}: the {label} is {value}, not {other}, from {source}",
    "Sorry, {name}, the {label} is {value}, not {other}, by {source}",
)
MISSPOKE = (
    "I misspoke: the {label} is {value}, not {other}{dated}",
    "A correction from me: the {label} is {value}, not {other}{dated}",
    "I must correct myself: the {label} is {value}, not {other}{dated}",
    "I gave {other}, but the {label} is {value}{dated}",
    "Sorry, the {label} is {value}, not {other} as I said{dated}",
)
DISPUTE = (
    "{name} and {name2} differ on the {label}: {value} or {value2}?",
    "Is it {value} or {value2} for the {label}, {name}?",
    "Which one holds for the {label}, {value} of {name} or {value2} of {name2}?",
)
ASK = (
    "Who has the {label}? I need it for {slot}.",
    "I still miss the {label}. Without it {slot} stays open. {name}, can you help?",
    "{name}, do you have the {label}? {slot} hangs on it.",
    "What is the {label}? I cannot settle {slot} before I know.",
)
WAIT = (
    "I keep {slot} open until I am sure of it.",
    "Give me one more turn for {slot}.",
    "{slot} comes from me as soon as I have checked it.",
)
SET = (
    "I have put {slot} at {value}",
    "{slot} is now {value} in the plan",
    "I set {slot} to {value}",
    "On the board: {slot} = {value}",
)
BECAUSE = (
    ", since the {label} is {worth}",
    ", with {worth} as the {label}",
    ", by the {label} of {worth}",
)
SUM = (
    "I reckon {sum}",
    "The calculator gives {sum}",
    "Reckoned out: {sum}",
)
DOUBT = (
    "{owner}, {slot} stands at {value}; by my figures it would be {other}.",
    "I would look at {slot} again, {owner}: it says {value} and I get {other}.",
    "Does {value} for {slot} hold, {owner}? I come to {other}.",
)
REOPEN = (
    "Let us go over {slot} once more before we close it.",
    "Are we sure of {slot}? I would rather look at it again.",
    "I am not happy with {slot} yet. {owner}, what is it built on?",
    "Before we go on: does {slot} still hold, {owner}?",
)
REASSIGN = (
    "{owner}, shall {name} take a second look at {slot}?",
    "{name}, would you check {slot} for {owner}?",
)
NOTHING = (
    "There is nothing for us in the {source}.",
    "The {source} gives us nothing that we need.",
    "I looked at the {source}, it does not help the plan.",
    "Forget the {source}, nothing in it matters for us.",
)
TROUBLE = (
    "No luck with the {tool} just now.",
    "My last call of the {tool} failed.",
    "My {tool} gave me an error just now, so there is less from me this time.",
    "The {tool} did not answer as it should; I try again next turn.",
    "I had trouble with the {tool} just now.",
)
CONFIRM = (
    "My part stands: {slots}.",
    "From me it is settled: {slots}.",
    "I have nothing to change: {slots}.",
    "For the record, my part is {slots}.",
)
PRIVATE = (
    "Do not ask me where I was this afternoon; it has nothing to do with the bank.",
    "I would rather not talk about my evening.",
    "That call before was private, let us go on.",
    "Leave my sister out of this, please.",
)
ASIDE = (
    "I was on the telephone for a moment, go on.",
    "It was a long day, bear with me.",
    "Let us keep our voices down.",
    "I have a private matter later tonight, so let us go on.",
    "Coffee first, then the rest.",
)
FILLERS = {
    "reconnaissance": (
        "Tell us your figures with the date of the paper.",
        "What do we still not know?",
        "I look at the rest of my sources next.",
        "An old paper helps nobody, so mind the dates.",
    ),
    "planning": (
        "Let us put the steps in order now.",
        "Say so now if a figure does not fit.",
        "The rest of my part follows from that.",
        "I would keep to what the newest paper says.",
    ),
    "decision": (
        "If nobody objects now, this is the plan.",
        "I am ready when you are.",
        "Check your slots once more, then we go.",
        "No more changes from me unless a figure is wrong.",
    ),
}
HEDGES = ("As far as I can tell, ", "If I read it right, ", "I think ", "To my knowledge ", "Unless I am mistaken, ")
