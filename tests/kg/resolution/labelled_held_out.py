"""The half of the labelled documents on which figures are reported; nothing is chosen by it."""

from __future__ import annotations

from tests.kg.resolution.labelled_families import Story

__all__ = ["HELD_OUT"]

HELD_OUT: dict[str, tuple[Story, ...]] = {
    "two-geologists": (
        Story(
            "Peter Voss (geologist)",
            "[Peter Voss|PERSON|voss-elder] (1834–1901) was a [geologist|CONCEPT] who mapped the [Karst "
            "Range|LOC|karst-range]. He taught at the [Imperial Mining School|ORG|mining-school].",
        ),
        Story(
            "Peter Voss",
            "[Peter Voss|PERSON|voss-younger] (born 1962) is a [geologist|CONCEPT]. [Voss|PERSON|voss-younger] "
            "drills for [hot water|CONCEPT] under [Aldershaven|GPE|aldershaven].",
        ),
        Story(
            "Maps of the range",
            "The first sheet of the [Karst Range|LOC|karst-range] was drawn by [Peter Voss|PERSON|voss-elder] for "
            "the [Imperial Mining School|ORG|mining-school].",
        ),
        Story(
            "Warm homes",
            "Half of [Aldershaven|GPE|aldershaven] is heated by the wells of [Dr. Peter Voss|PERSON|voss-younger].",
        ),
    ),
    "ashby": (
        Story(
            "Ashby in Kent County",
            "The [town|CONCEPT] of [Ashby|GPE|ashby-corrane] in [Corrane|GPE|corrane] brews a dark [beer|CONCEPT].",
        ),
        Story(
            "Wool",
            "Sheep were sold in [Ashby|GPE|ashby-westmark], [Westmark|GPE|westmark], on [Monday|DATE].",
        ),
        Story(
            "Ashby falls",
            "[Ashby|LOC|ashby-lake] is a [lake|CONCEPT] below [Mount Hale|LOC|mount-hale]. Trout live in it.",
        ),
        Story(
            "Brewers",
            "Brewers from [Ashby|GPE|ashby-corrane], [Corrane|GPE|corrane], showed their [beer|CONCEPT] in "
            "[Dunholm|GPE|dunholm].",
        ),
        Story(
            "Trout",
            "Anglers below [Mount Hale|LOC|mount-hale] say that the [lake|CONCEPT] [Ashby|LOC|ashby-lake] is too warm.",
        ),
    ),
    "agencies": (
        Story(
            "Rail safety",
            "The [Rail Safety Board|ORG|rail-board] ([RSB|ORG|rail-board]) looked into the crash at [Pell "
            "Junction|FAC|pell-junction]. [Maud Ferris|PERSON|maud-ferris] leads the [RSB|ORG|rail-board].",
        ),
        Story(
            "A bank",
            "[RSB|ORG|savings-bank] ([Rhine Savings Bank|ORG|savings-bank]) raised its [interest|CONCEPT] in "
            "[Tolvik|GPE|tolvik].",
        ),
        Story(
            "Signals",
            "The [RSB|ORG|rail-board] wants new [signals|CONCEPT] at [Pell Junction|FAC|pell-junction], said "
            "[Maud Ferris|PERSON|maud-ferris].",
        ),
        Story(
            "Savers",
            "Savers in [Tolvik|GPE|tolvik] queued before the [Rhine Savings Bank|ORG|savings-bank].",
        ),
        Story(
            "Heritage",
            "The [Regional Sailing Bureau|ORG|sailing-bureau] in [Holm|GPE|holm] keeps a list of old [boats|CONCEPT].",
        ),
    ),
    "drummond": (
        Story(
            "New mayor",
            "[Elizabeth Drummond|PERSON|elizabeth-drummond] is the [mayor|CONCEPT] of [Fairlight|GPE|fairlight]. "
            "[Drummond|PERSON|elizabeth-drummond] was an [engineer|CONCEPT] at [Castor Works|ORG|castor-works].",
        ),
        Story(
            "Liz opens the bridge",
            "[Liz Drummond|PERSON|elizabeth-drummond] cut the [ribbon|CONCEPT] in [Fairlight|GPE|fairlight] "
            "before workers of [Castor Works|ORG|castor-works].",
        ),
        Story(
            "Drummond & Sons",
            "[Drummond & Sons|ORG|drummond-sons] sells [hats|CONCEPT] in [Overton|GPE|overton].",
        ),
        Story(
            "Letters page",
            "[Elisabeth Drummond|PERSON|elizabeth-drummond] promised us trams. [Fairlight|GPE|fairlight] still waits.",
        ),
        Story(
            "Folk night",
            "The singer [Edith Drummond|PERSON|edith-drummond] plays in [Overton|GPE|overton] tonight.",
        ),
    ),
    "far-names": (
        Story(
            "Expedition",
            "[Aleksandr Zhukovsky|PERSON|zhukovsky] led the sledges from [Port Lazar|GPE|port-lazar] with [Søren "
            "Ødegård|PERSON|odegard].",
        ),
        Story(
            "Old diary",
            "[Alexander Zhukovskiy|PERSON|zhukovsky] and [Soren Odegard|PERSON|odegard] reached the ice off [Port "
            "Lazar|GPE|port-lazar].",
        ),
        Story(
            "Dogs",
            "The dogs of [Soeren Oedegaard|PERSON|odegard] were fed with [seal|CONCEPT] in [Port "
            "Lazar|GPE|port-lazar].",
        ),
        Story(
            "Chess",
            "[Anna Zhukova|PERSON|zhukova] won the [chess|CONCEPT] title in [Lipno|GPE|lipno].",
        ),
    ),
    "masks": (
        Story(
            "The mask",
            "[Teodor Brandt|PERSON|brandt], better known as The Grey Fox, robbed three [banks|CONCEPT] in "
            "[Kessel|GPE|kessel].",
        ),
        Story(
            "Trial",
            "[The Grey Fox|PERSON|brandt] was tried in [Kessel|GPE|kessel] in [1926|DATE].",
        ),
        Story(
            "The Grey Fox",
            "[The Grey Fox|WORK_OF_ART|fox-inn] is a [restaurant|CONCEPT] in [Little Ansty|GPE|little-ansty]. "
            "Book early.",
        ),
        Story(
            "Renamed",
            "[Oakfield Radio|ORG|oakfield-radio], formerly known as Valley Sound, is a [company|CONCEPT] in "
            "[Oakfield|GPE|oakfield].",
        ),
        Story(
            "Archive",
            "[Valley Sound|ORG|oakfield-radio] went on air in [Oakfield|GPE|oakfield] in [1974|DATE].",
        ),
    ),
    "mercer": (
        Story(
            "Element",
            "[Vanta|PRODUCT|vanta-drug] is a [drug|CONCEPT] against [gout|CONCEPT], made by [Mercer "
            "Pharma|ORG|mercer-pharma].",
        ),
        Story(
            "Goddess",
            "[Vanta|PERSON|vanta-goddess] was a [goddess|CONCEPT] of the [dawn|CONCEPT] in old [Ilmar|GPE|ilmar].",
        ),
        Story(
            "Moon",
            "[Vanta|LOC|vanta-moon] is a [moon|CONCEPT] with [geysers|CONCEPT].",
        ),
        Story(
            "Approval",
            "Regulators approved [Vanta|ORG|vanta-drug]. Shares of [Mercer Pharma|ORG|mercer-pharma] rose.",
        ),
        Story(
            "Geysers",
            "A probe flew through the [geysers|CONCEPT] of the moon [Vanta|PERSON|vanta-moon].",
        ),
        Story(
            "Report",
            "[Mercer Pharma Inc.|ORG|mercer-pharma] sells [Vanta|PRODUCT|vanta-drug] in nine [countries|CONCEPT].",
        ),
    ),
    "clara-hume": (
        Story(
            "On stage",
            "[Clara Hume|WORK_OF_ART|clara-play] is a [play|CONCEPT] in three [acts|CONCEPT] by [Benedikt "
            "Roth|PERSON|benedikt-roth].",
        ),
        Story(
            "In court",
            "[Clara Hume|PERSON|clara-judge], a [judge|CONCEPT] in [Stanmere|GPE|stanmere], freed the [miner|CONCEPT].",
        ),
        Story(
            "Season",
            "The [theatre|CONCEPT] ends the season with [Clara Hume|PERSON|clara-play] by [Benedikt "
            "Roth|PERSON|benedikt-roth].",
        ),
        Story(
            "Appeal",
            "The judge [Clara Hume|PERSON|clara-judge] will hear the [appeal|CONCEPT] in [Stanmere|GPE|stanmere].",
        ),
    ),
    "near-names": (
        Story(
            "Two villages",
            "[Upper Hallam|GPE|upper-hallam] and [Lower Hallam|GPE|lower-hallam] are joined by a [lane|CONCEPT].",
        ),
        Story(
            "Two rivers",
            "The [Marlen|LOC|marlen] and the [Marlin|LOC|marlin] meet at [Forks|GPE|forks].",
        ),
        Story(
            "Brothers",
            "[Jon Halder|PERSON|jon-halder] and [Jan Halder|PERSON|jan-halder] row for [Lower "
            "Hallam|GPE|lower-hallam].",
        ),
        Story(
            "Engines",
            "The [Kestrel 40|PRODUCT|kestrel-40] burns less than the [Kestrel 45|PRODUCT|kestrel-45].",
        ),
        Story(
            "Harvest",
            "The barn of [Jon Halder|PERSON|jon-halder] in [Lower Hallam|GPE|lower-hallam] burned down. Its "
            "sprayer was a [Kestrel-40|PRODUCT|kestrel-40].",
        ),
        Story(
            "Kings",
            "[Aldric II|PERSON|aldric-ii] was the son of [Aldric I|PERSON|aldric-i] of [Gothmar|GPE|gothmar].",
        ),
    ),
    "robson": (
        Story(
            "Soil",
            "[Karen Louise Robson|PERSON|karen-robson], a [chemist|CONCEPT] at the [Fenwick "
            "Institute|ORG|fenwick], measured [lead|CONCEPT] in the [soil|CONCEPT] of [Harrowgate "
            "Fields|LOC|harrowgate-fields].",
        ),
        Story(
            "Soil, again",
            "[K. L. Robson|PERSON|karen-robson] of the [Institute Fenwick|ORG|fenwick] found less [lead|CONCEPT] "
            "in the [soil|CONCEPT].",
        ),
        Story(
            "Advice",
            "[Karen Robson|PERSON|karen-robson] of the [Fenwick Institute|ORG|fenwick] advises to test the "
            "[soil|CONCEPT].",
        ),
        Story(
            "Karate",
            "[Karen Robson|PERSON|karate-robson] is a [boxer|CONCEPT] and coaches children in "
            "[Mosley|GPE|mosley]. The Scottish [champion|CONCEPT] was born in [Mosley|GPE|mosley].",
        ),
    ),
    "tern": (
        Story(
            "Club",
            "[Tern Athletic|ORG|tern-athletic] is a football [club|CONCEPT] from [Ternmouth|GPE|ternmouth].",
        ),
        Story(
            "Boat",
            "[Tern|PRODUCT|tern-boat] is a [yacht|CONCEPT] built by [Lars Winge|PERSON|lars-winge] in "
            "[Nordvik|GPE|nordvik].",
        ),
        Story(
            "Bird",
            "The [Arctic tern|CONCEPT] is a [bird|CONCEPT] that nests near [Ternmouth|GPE|ternmouth].",
        ),
        Story(
            "Regatta",
            "[Lars Winge|PERSON|lars-winge] sailed [Tern|PRODUCT|tern-boat] round [Cape Storr|LOC|cape-storr].",
        ),
        Story(
            "Away win",
            "[Tern Athletic FC|ORG|tern-athletic] won at [Nordvik|GPE|nordvik].",
        ),
    ),
    "winter-house": (
        Story(
            "Album",
            "[Winter House|WORK_OF_ART|winter-album] is an [album|CONCEPT] by the band [Low "
            "Lanterns|ORG|low-lanterns].",
        ),
        Story(
            "Novel",
            "[Winter House|WORK_OF_ART|winter-novel], a [novel|CONCEPT] by [Ruth Adair|PERSON|ruth-adair], is set "
            "in [Glenmore|GPE|glenmore].",
        ),
        Story(
            "Charts",
            "[Low Lanterns|ORG|low-lanterns] entered the [charts|CONCEPT] with [Winter "
            "House|WORK_OF_ART|winter-album].",
        ),
        Story(
            "Reading",
            "[Ruth Adair|PERSON|ruth-adair] read from [Winter House|WORK_OF_ART|winter-novel] in "
            "[Glenmore|GPE|glenmore].",
        ),
        Story(
            "Band",
            "[The Low Lanterns|ORG|low-lanterns] are a [band|CONCEPT] from [Dorley|GPE|dorley].",
        ),
    ),
    "bridge-plans": (
        Story(
            "The bridge",
            "The [Ferncliff Bridge|FAC|ferncliff-bridge] was drawn by [Ingrid Malm|PERSON|ingrid-malm] for "
            "[Corbel Engineering|ORG|corbel].",
            picture="[FERNCLIFFBRIDGE|ORG|ferncliff-bridge]\n[CORBEL ENGlNEERlNG|ORG|corbel]\nScale 1:200",
        ),
        Story(
            "Inspection",
            "[Corbel Engineering|ORG|corbel] found rust on the [Ferncliff Bridge|FAC|ferncliff-bridge].",
            picture="[Femcliff Bridge|GPE|ferncliff-bridge]\nInspected by [lngrid Malm|PERSON|ingrid-malm]",
        ),
        Story(
            "Second crossing",
            "The [Fernhill Bridge|FAC|fernhill-bridge] is shut until [June|DATE].",
        ),
    ),
    "no-evidence": (
        Story(
            "Minutes",
            "[Paula Reyes|PERSON|paula-reyes] opened the [meeting|CONCEPT] in [Cantwell|GPE|cantwell].",
        ),
        Story(
            "More minutes",
            "The [budget|CONCEPT] was explained by [Paula Reyes|PERSON|paula-reyes].",
        ),
        Story(
            "Garden",
            "[Cantwell|PERSON|cantwell] has a new [garden|CONCEPT]; [Paula Reyes|ORG|paula-reyes] planted a [pear "
            "tree|CONCEPT].",
        ),
    ),
}
