//! The writer's stock of phrases. `{t}` stands for the topic, `{T}` for the topic in title case.
//!
//! The topic may be singular or plural, so no phrase has a verb that must agree with it.

/// A class with well-known members.
#[derive(Debug, PartialEq)]
pub(super) struct Category {
    /// Names of the class, in the singular and the plural.
    pub(super) nouns: &'static [&'static str],
    /// Some of its members.
    pub(super) members: &'static [&'static str],
}

#[rustfmt::skip]
pub(super) static CATEGORIES: [Category; 9] = [
    Category {
        nouns: &["color", "colors", "colour", "colours"],
        members: &[
            "amber", "blue", "coral", "crimson", "gold", "green", "indigo", "olive", "red", "silver",
            "teal", "violet",
        ],
    },
    Category {
        nouns: &["animal", "animals"],
        members: &[
            "badger", "bear", "crane", "dolphin", "fox", "heron", "lynx", "otter", "owl", "seal",
            "tortoise", "wolf",
        ],
    },
    Category {
        nouns: &["fruit", "fruits"],
        members: &[
            "apple", "apricot", "cherry", "fig", "grape", "lemon", "mango", "orange", "peach", "pear",
            "plum", "quince",
        ],
    },
    Category {
        nouns: &["country", "countries"],
        members: &[
            "Brazil", "Canada", "Chile", "Egypt", "Finland", "India", "Japan", "Kenya", "New Zealand",
            "Norway", "Portugal", "Vietnam",
        ],
    },
    Category {
        nouns: &["city", "cities"],
        members: &[
            "Accra", "Bergen", "Hanoi", "Kyoto", "Lima", "Lisbon", "Montreal", "Nairobi", "Porto", "Prague",
            "Seoul", "Wellington",
        ],
    },
    Category {
        nouns: &["language", "languages"],
        members: &[
            "Arabic", "Dutch", "Finnish", "French", "Hindi", "Japanese", "Korean", "Portuguese", "Spanish",
            "Swahili",
        ],
    },
    Category {
        nouns: &["planet", "planets"],
        members: &[
            "Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune",
        ],
    },
    Category {
        nouns: &["instrument", "instruments"],
        members: &[
            "accordion", "bassoon", "cello", "clarinet", "flute", "guitar", "harp", "oboe", "piano",
            "trumpet", "viola", "violin",
        ],
    },
    Category {
        nouns: &["author", "authors", "writer", "writers", "character", "characters", "person", "people"],
        members: PEOPLE,
    },
];

#[rustfmt::skip]
pub(super) const PEOPLE: &[&str] = &[
    "Ada Marlowe", "Bram Okafor", "Clara Lindqvist", "Dario Fontana", "Elif Aydin", "Felix Navarro",
    "Greta Sorensen", "Hugo Tanaka", "Ines Carvalho", "Jonas Weber", "Kavya Raman", "Lena Petrova",
    "Miles Abbott", "Nora Quinn", "Oscar Lindgren", "Priya Desai",
];

pub(super) const OPENINGS: &[&str] = &[
    "The story of {t} is one of patience, good timing and a little luck.",
    "Most people meet {t} by accident and stay out of curiosity.",
    "There is more to {t} than first meets the eye.",
    "To understand {t}, it helps to start with what came before.",
    "Few subjects reward a second look as generously as {t}.",
    "Anyone who has spent time with {t} knows how much the details matter.",
    "Ask three experts about {t} and you will hear four opinions.",
    "The best way into {t} is to begin small.",
    "A first encounter with {t} tends to raise more questions than it settles.",
    "It is easy to underestimate {t}.",
];

pub(super) const MIDDLES: &[&str] = &[
    "A few simple habits account for most of what works.",
    "The early days of {t} were full of false starts, and the lessons still hold.",
    "What changed {t} was not a single idea but many modest ones.",
    "The numbers look dry at first, yet they tell a lively story.",
    "Good tools help, though they matter less than steady attention.",
    "Each step builds on the last, so it pays to go in order.",
    "Those who do well with {t} tend to share what they learn.",
    "The costs are easy to see; the benefits take a season to show.",
    "Much of the work happens quietly, long before anyone notices.",
    "Mistakes are common here, and nearly all of them can be mended.",
    "Local conditions shape {t} more than any rule of thumb.",
    "A clear plan saves more time than it takes.",
    "Old methods and new ones sit side by side, each with its own merits.",
    "The people around {t} are often as interesting as the thing itself.",
    "Small improvements, repeated often, outrun grand designs.",
    "What looks like talent is usually practice.",
    "Weather, money and patience all play their part.",
    "The most useful advice is also the plainest: look closely and keep notes.",
];

/// Ends of a sentence: one word long, two words, and so on.
pub(super) const TAILS: [&str; 6] = [
    "always",
    "after all",
    "day by day",
    "one way or another",
    "in more ways than one",
    "and that is half the story",
];

pub(super) const CLOSINGS: &[&str] = &[
    "In the end, the value of {t} lies in doing ordinary things well.",
    "That is why {t} will still be worth talking about in ten years.",
    "The next chapter of {t} is still being written.",
    "With that in mind, the rest falls into place.",
    "For most people that is reason enough to take {t} seriously.",
    "The rest is a matter of time and care.",
];

pub(super) const EXPLANATIONS: &[&str] = &[
    "In short, {t} can be traced back to a few simple causes that reinforce each other.",
    "The usual explanation is that {t} grew out of practical needs and kept what worked.",
    "Broadly speaking, {t} can be understood as a balance between cost, time and care.",
    "The plain answer is that {t} can mean different things, depending on where you look and how long you wait.",
    "At its simplest, {t} can be described as many small parts doing one job together.",
    "Put simply, there are two sides to {t}: what you can see, and what makes it possible.",
];

pub(super) const TITLES: &[&str] = &[
    "A Short History of {T}",
    "The Case for {T}",
    "First Steps in {T}",
    "{T} in Practice",
    "Inside {T}",
    "The People behind {T}",
    "Common Myths about {T}",
    "What Comes Next for {T}",
    "The Hidden Costs of {T}",
    "Lessons from {T}",
    "A Field Guide to {T}",
    "Rethinking {T}",
    "Measuring {T}",
    "{T} at Home and Abroad",
    "The Future of {T}",
    "The Quiet Power of {T}",
];

pub(super) const COMPANIES: &[&str] = &[
    "Brightside {T}",
    "{T} & Daughters",
    "Evergreen {T} Works",
    "The Honest {T} Company",
    "North Star {T}",
    "{T} Republic",
    "Little Harbor {T}",
    "Bluebird {T} Co.",
    "Kind {T}",
    "{T} Collective",
    "Daybreak {T}",
    "First Light {T}",
];

pub(super) const QUESTIONS: &[&str] = &[
    "What first drew people to {t}?",
    "Who gains most from {t}, and who pays for it?",
    "What would be lost without {t}?",
    "How might {t} look in twenty years?",
    "What do beginners get wrong about {t}?",
    "Which part of {t} is hardest to explain?",
    "What does {t} cost, all things considered?",
    "Where can one see {t} at its best?",
    "What should everyone know about {t}?",
    "Which old ideas about {t} have turned out to be true?",
];

pub(super) const IDEAS: &[&str] = &[
    "Start a small diary of {t}",
    "Interview someone who lives with {t}",
    "Draw a map of {t}",
    "Teach {t} to a friend in ten minutes",
    "Compare {t} then and now",
    "Collect the best questions about {t}",
    "Build a simple model of {t}",
    "Spend one morning watching {t}",
    "Write a letter to a future expert on {t}",
    "Make a checklist for {t}",
    "Take one photograph of {t} every day",
    "Read three opposing views of {t}",
];

pub(super) const LINES: &[&str] = &[
    "Morning comes to {t} without a sound,",
    "a small light waits where the path begins,",
    "and every step remembers {t}.",
    "The wind has its own opinion of {t},",
    "but the patient hands go on with their work,",
    "until the evening turns to gold.",
    "Nobody asks what {t} may dream of,",
    "yet the quiet answer is everywhere:",
    "in the open window, in the turning year,",
    "in the long way home past {t}.",
    "Say it softly, and say it again:",
    "there is always room for {t}.",
];

pub(super) const BOOKS: &[&str] = &[
    "The Lantern Keeper",
    "A Map of Small Hours",
    "The Salt Road",
    "What the River Kept",
    "The Ninth Harbor",
    "Letters to a Lighthouse",
    "The Clockmaker's Orchard",
    "A Winter Below the Stars",
    "The Last Cartographer",
    "Glass and Thunder",
    "The House of Quiet Doors",
    "Tomorrow's Archive",
];

pub(super) const BOOK_REASONS: &[&str] = &[
    "it is a slow-burning delight",
    "the ending stays with you",
    "its characters feel like old friends",
    "every chapter turns the story on its head",
];

pub(super) const HAIKU: [&[&str]; 3] = [
    &["Before the first light", "A cool wind arrives", "Under the old pine", "Late in the season"],
    &[
        "{t}, and the quiet morning",
        "the long road bends toward {t}",
        "someone is thinking of {t}",
        "a small voice speaks of {t}",
    ],
    &["and then the rain stops", "the moon keeps its watch", "one leaf lets go", "a door stands open"],
];

pub(super) const JOKES: &[&str] = &[
    "Why did the expert on {t} bring a ladder? To get to the next level.",
    "I used to be afraid of {t}. Then I read the manual, and now I am afraid of the manual.",
    "A book about {t} walks into a bar. The barman says: \"You look well read.\"",
    "How many people does it take to explain {t}? Only one, but everyone else will say it depends.",
    "I told my cat everything about {t}. She asked for a summary, then left before the end.",
    "What do you call a meeting about {t}? A good reason to order lunch.",
];
