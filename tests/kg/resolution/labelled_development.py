"""The half of the labelled documents on which weights and thresholds may be chosen."""

from __future__ import annotations

from tests.kg.resolution.labelled_families import Story

__all__ = ["DEVELOPMENT"]

DEVELOPMENT: dict[str, tuple[Story, ...]] = {
    "north": (
        Story(
            "Ada North",
            "[Ada North|PERSON|ada-painter] (born 1921) was a Norwegian [painter|CONCEPT] who lived in "
            "[Skarvoy|GPE|skarvoy]. [North|PERSON|ada-painter] showed her large [canvases|CONCEPT] of the sea at "
            "the [Skarvoy Gallery|ORG|skarvoy-gallery] in [1958|DATE].",
        ),
        Story(
            "Women's cup final",
            "The [striker|CONCEPT] [Ada North|PERSON|ada-footballer] scored twice for [Calder "
            "Rovers|ORG|calder-rovers] on [Saturday|DATE]. The Welsh [footballer|CONCEPT] had joined from "
            "[Penhallow|GPE|penhallow] in [2019|DATE]. [Calder Rovers|ORG|calder-rovers] lifted the "
            "[trophy|CONCEPT].",
        ),
        Story(
            "Paintings of the islands",
            "The [Skarvoy Gallery|ORG|skarvoy-gallery] lent three [canvases|CONCEPT] by the painter [Ada "
            "North|PERSON|ada-painter] to the [show|CONCEPT] in [Bergvik|GPE|bergvik]. A [portrait|CONCEPT] of "
            "her teacher [Ada Norton|PERSON|ada-norton], a Danish [sculptor|CONCEPT], hung beside them.",
        ),
        Story(
            "Transfer news",
            "[Calder Rovers|ORG|calder-rovers] have sold [Ada North|PERSON|ada-footballer] to [Brant "
            "City|ORG|brant-city]. The [fee|CONCEPT] was not named, and [North|PERSON|ada-footballer] will train "
            "in [Penhallow|GPE|penhallow] until [May|DATE].",
        ),
    ),
    "millbrook": (
        Story(
            "A mill town",
            "The looms of [Millbrook, Ohio|GPE|millbrook-ohio] stopped in [1931|DATE]. The town of "
            "[Millbrook|GPE|millbrook-ohio] lies in [Ohio|GPE|ohio], on the [Stillwater Creek|LOC|stillwater].",
        ),
        Story(
            "Maple season",
            "Sugar makers met in [Millbrook|GPE|millbrook-vermont], [Vermont|GPE|vermont], last [week|DATE]. The "
            "[syrup|CONCEPT] from the [hills|CONCEPT] was pale.",
        ),
        Story(
            "Creek clean-up",
            "Volunteers pulled forty [tyres|CONCEPT] out of the [Stillwater Creek|LOC|stillwater] near "
            "[Millbrook|GPE|millbrook-ohio], [Ohio|GPE|ohio].",
        ),
        Story(
            "Ski club",
            "The [ski club|CONCEPT] of [Millbrook|GPE|millbrook-vermont], [Vermont|GPE|vermont], has bought a "
            "[lift|CONCEPT].",
        ),
    ),
    "skerrin": (
        Story(
            "The Skerrin",
            "[Skerrin|LOC|skerrin-river] is a [river|CONCEPT] that rises at [Black Tarn|LOC|black-tarn] and meets "
            "the sea below [Skerrin Point|LOC|skerrin-point].",
        ),
        Story(
            "Market day",
            "[Skerrin|GPE|skerrin-town] is a small [town|CONCEPT] with a [market|CONCEPT] on [Fridays|DATE]. Its "
            "[mayor|CONCEPT], [Tom Eland|PERSON|tom-eland], opened the new [hall|CONCEPT].",
        ),
        Story(
            "Tide gauges",
            "The gauge at [Skerrin Point|LOC|skerrin-point] recorded 2.4 m in [March 2021|DATE]. The chart shows "
            "all three [gauges|CONCEPT] on the [Skerrin|LOC|skerrin-river], a [river|CONCEPT] with a steep "
            "[mouth|CONCEPT].",
            picture="[SKERRINPOINT|ORG|skerrin-point]\n[BLACK TARN|PERSON|black-tarn]\nTide height in m",
        ),
        Story(
            "Council notes",
            "[Tom Eland|PERSON|tom-eland] told the council of [Skerrin|GPE|skerrin-town] that the "
            "[market|CONCEPT] would move to [Tuesday|DATE].",
        ),
    ),
    "institutes": (
        Story(
            "Tides",
            "The [Northern Tide Institute|ORG|tide-institute] ([NTI|ORG|tide-institute]) measures the sea at "
            "[Hollin Harbour|LOC|hollin-harbour]. [NTI|ORG|tide-institute] was founded by [Greta "
            "Hoss|PERSON|greta-hoss], an [oceanographer|CONCEPT].",
        ),
        Story(
            "Cloth",
            "The [National Textile Institute|ORG|textile-institute] ([NTI|ORG|textile-institute]) tests "
            "[fabrics|CONCEPT] in [Dunmere|GPE|dunmere]. Its [looms|CONCEPT] came from [Vasker "
            "Mills|ORG|vasker-mills].",
        ),
        Story(
            "Harbour report",
            "[NTI|ORG|tide-institute] put a new [gauge|CONCEPT] into [Hollin Harbour|LOC|hollin-harbour], said "
            "[Greta Hoss|PERSON|greta-hoss].",
        ),
        Story(
            "Mill closes",
            "[Vasker Mills|ORG|vasker-mills] will close. The [NTI|ORG|textile-institute] in [Dunmere|GPE|dunmere] "
            "wants its [looms|CONCEPT].",
        ),
    ),
    "harker": (
        Story(
            "Lifeboat crew",
            "[William Harker|PERSON|william-harker] steers the [lifeboat|CONCEPT] of [Oxna Sound|LOC|oxna-sound]. "
            "[Harker|PERSON|william-harker] learned from [Sunniva Rusk|PERSON|sunniva-rusk].",
        ),
        Story(
            "Medal for Bill",
            "[Bill Harker|PERSON|william-harker] got a [medal|CONCEPT] for the rescue in [Oxna "
            "Sound|LOC|oxna-sound], and [Sunniva Rusk|PERSON|sunniva-rusk] pinned it on him.",
        ),
        Story(
            "Dairy prices",
            "[Willa Harker|PERSON|willa-harker] keeps sixty [cows|CONCEPT] above [Tolland|GPE|tolland]. The price "
            "of [milk|CONCEPT] has fallen.",
        ),
        Story(
            "Crew list",
            "Crew: [Wiliam Harker|PERSON|william-harker], [coxswain|CONCEPT], and [Sunniva "
            "Rusk|PERSON|sunniva-rusk], [mechanic|CONCEPT], both of [Oxna Sound|LOC|oxna-sound].",
        ),
    ),
    "letters-abroad": (
        Story(
            "A pianist's letters",
            "[Mikhail Chaykin|PERSON|chaykin], the [pianist|CONCEPT], wrote to [Jürgen Müller|PERSON|mueller] "
            "from [Velograd|GPE|velograd] in [1907|DATE].",
        ),
        Story(
            "Programme note",
            "[Michail Tchaykin|PERSON|chaykin], a [pianist|CONCEPT] from [Velograd|GPE|velograd], plays the "
            "sonata that [Jurgen Muller|PERSON|mueller] had printed.",
        ),
        Story(
            "Catalogue",
            "Published by [Juergen Mueller|PERSON|mueller], [Velograd|GPE|velograd], in [1909|DATE]. Fingering by "
            "[M. Chaykin|PERSON|chaykin].",
        ),
        Story(
            "Obituary",
            "[Martin Muller|PERSON|martin-muller], a [dentist|CONCEPT], died in [Ashcombe|GPE|ashcombe] in "
            "[1988|DATE].",
        ),
    ),
    "vale": (
        Story(
            "Who was Nora Vale?",
            "[Nora Vale|PERSON|nora-vale], born Edith Stroud, wrote nine [novels|CONCEPT]. Her first, [The "
            "Lantern Keeper|WORK_OF_ART|lantern-keeper], is set in [Marrow Bay|GPE|marrow-bay].",
        ),
        Story(
            "School register",
            "[Edith Stroud|PERSON|nora-vale] sat in the third row in [Marrow Bay|GPE|marrow-bay] in [1911|DATE], "
            "beside [Ivy Stroud|PERSON|ivy-stroud], her [sister|CONCEPT].",
        ),
        Story(
            "Reprint",
            "[Lantern Keeper|WORK_OF_ART|lantern-keeper], the [novel|CONCEPT] by [Nora Vale|PERSON|nora-vale], is "
            "back in print.",
        ),
        Story(
            "Lighthouse staff",
            "The [lantern keeper|CONCEPT] of [Marrow Bay|GPE|marrow-bay] was [Samuel "
            "Stroud|PERSON|samuel-stroud], [father|CONCEPT] of [Ivy Stroud|PERSON|ivy-stroud].",
        ),
    ),
    "orion": (
        Story(
            "Quarterly figures",
            "[Orion|ORG|orion-company] is a [company|CONCEPT] in [Lindholm|GPE|lindholm] that makes "
            "[pumps|CONCEPT]. [Orion|ORG|orion-company] named [Petra Quist|PERSON|petra-quist] its "
            "[director|CONCEPT].",
        ),
        Story(
            "The winter sky",
            "[Orion|LOC|orion-stars] is a [constellation|CONCEPT] seen in [winter|DATE]. [Orion|LOC|orion-stars] "
            "holds the bright star [Rigel|PERSON|rigel].",
        ),
        Story(
            "New ferry",
            "[Orion|PRODUCT|orion-ferry] is a [ferry|CONCEPT] that crosses the [Tamber Strait|LOC|tamber-strait]. "
            "[Orion|PRODUCT|orion-ferry] carries 200 [cars|CONCEPT].",
        ),
        Story(
            "Lindholm works",
            "[Petra Quist|PERSON|petra-quist] said that [Orion|ORG|orion-company] would hire forty people in "
            "[Lindholm|GPE|lindholm].",
        ),
    ),
    "emma-tarn": (
        Story(
            "Review",
            "[Emma Tarn|WORK_OF_ART|emma-novel] is a [novel|CONCEPT] by [Oskar Lund|PERSON|oskar-lund]. The "
            "[story|CONCEPT] of a [smuggler|CONCEPT] won the [Halm Prize|EVENT|halm-prize].",
        ),
        Story(
            "Ward notes",
            "[Emma Tarn|PERSON|emma-nurse] is a [nurse|CONCEPT] at [Elder Hospital|ORG|elder-hospital]. "
            "[Tarn|PERSON|emma-nurse] runs the night [ward|CONCEPT].",
        ),
        Story(
            "Prize night",
            "[Oskar Lund|PERSON|oskar-lund] took the [Halm Prize|EVENT|halm-prize] for [Emma "
            "Tarn|PERSON|emma-novel], a [book|CONCEPT] he wrote at sea.",
        ),
        Story(
            "Strike",
            "Nurses of [Elder Hospital|ORG|elder-hospital], led by [Emma Tarn|PERSON|emma-nurse], want better "
            "[shifts|CONCEPT].",
        ),
    ),
    "saints": (
        Story(
            "Two schools",
            "[St Mary's School|ORG|st-marys] in [Calverton|GPE|calverton] and [St Mark's School|ORG|st-marks] in "
            "[Dray|GPE|dray] share a [field|CONCEPT].",
        ),
        Story(
            "Exam results",
            "Pupils of [St. Mary's School|ORG|st-marys], [Calverton|GPE|calverton], did well in "
            "[Latin|LANGUAGE|latin].",
        ),
        Story(
            "Rowing",
            "[Saint Mark's School|ORG|st-marks] of [Dray|GPE|dray] won the [eights|CONCEPT].",
        ),
    ),
    "hartwell": (
        Story(
            "Bees of the moor",
            "[James Robert Hartwell|PERSON|james-hartwell], a [botanist|CONCEPT] at the [University of "
            "Tarbeck|ORG|tarbeck-university], counted [bees|CONCEPT] on [Longmoor|LOC|longmoor].",
        ),
        Story(
            "References",
            "[J. R. Hartwell|PERSON|james-hartwell], Bees of [Longmoor|LOC|longmoor], [Tarbeck "
            "University|ORG|tarbeck-university].",
        ),
        Story(
            "Boxing",
            "[John Hartwell|PERSON|john-hartwell], the [boxer|CONCEPT], fights in [Sandon|GPE|sandon] on "
            "[Friday|DATE].",
        ),
        Story(
            "Weigh-in",
            "[J. Hartwell|PERSON|john-hartwell] weighed 82 kg in [Sandon|GPE|sandon], said the [boxer|CONCEPT]'s "
            "[trainer|CONCEPT] [Abel Moss|PERSON|abel-moss].",
        ),
    ),
    "brightwater": (
        Story(
            "Annual report",
            "[Brightwater Ltd|ORG|brightwater-company] bottles [water|CONCEPT] in [Elmstead|GPE|elmstead]. "
            "[Brightwater|ORG|brightwater-company] sold 4 million [bottles|CONCEPT] in [2022|DATE].",
        ),
        Story(
            "Holiday guide",
            "[Brightwater|GPE|brightwater-village] is a [village|CONCEPT] on the west [coast|CONCEPT] of "
            "[Hesk|LOC|hesk]. Seals rest on its [beach|CONCEPT].",
        ),
        Story(
            "Recall",
            "[Brightwater|ORG|brightwater-company], a [company|CONCEPT] from [Elmstead|GPE|elmstead], has "
            "recalled [bottles|CONCEPT].",
        ),
        Story(
            "Bird count",
            "On [Hesk|LOC|hesk] we walked from [Brightwater|GPE|brightwater-village] to the [cliffs|CONCEPT].",
        ),
    ),
    "salt-road": (
        Story(
            "Film of the week",
            "[The Salt Road|WORK_OF_ART|salt-road-1994] is a 1994 film by [Lena Brask|PERSON|lena-brask]. It "
            "follows a [trader|CONCEPT] to [Tumbar|GPE|tumbar].",
        ),
        Story(
            "Second try",
            "[The Salt Road|WORK_OF_ART|salt-road-2016] is a 2016 film with [Ines Cole|PERSON|ines-cole]. It was "
            "shot in [Morvane|GPE|morvane].",
        ),
        Story(
            "Brask at seventy",
            "[Lena Brask|PERSON|lena-brask] made her name with [The Salt Road|WORK_OF_ART|salt-road-1994] in "
            "[1994|DATE], shot in [Tumbar|GPE|tumbar].",
        ),
        Story(
            "Cole in Morvane",
            "[Ines Cole|PERSON|ines-cole] came back to [Morvane|GPE|morvane], where she filmed [The Salt "
            "Road|WORK_OF_ART|salt-road-2016].",
        ),
    ),
    "pumps": (
        Story(
            "Pump data",
            "The [Halvorsen Pumps|ORG|halvorsen-pumps] model K7 lifts 40 litres a second in [Lower "
            "Fen|LOC|lower-fen]. [Figure 1|PRODUCT] shows the plate.",
            picture="[HALV0RSEN PUMPS|ORG|halvorsen-pumps]\n[LOWERFEN|GPE|lower-fen]\nK7",
        ),
        Story(
            "Service log",
            "[Halvorsen Pumps|ORG|halvorsen-pumps] sent [Rolf Aker|PERSON|rolf-aker] to [Lower Fen|LOC|lower-fen].",
            picture="Checked by [Rolf Akcr|PERSON|rolf-aker]\n[LOWER FEN|LOC|lower-fen]",
        ),
        Story(
            "Rival",
            "[Halvorsen Lamps|ORG|halvorsen-lamps] makes [lamps|CONCEPT] in [Upper Fen|LOC|upper-fen].",
        ),
    ),
    "redmere": (
        Story(
            "Flood",
            "The river broke its bank in [Redmere|GPE|redmere-anders], [Anders County|GPE|anders-county], on "
            "[Sunday|DATE]. [Boats|CONCEPT] took people from their roofs.",
        ),
        Story(
            "Glass",
            "[Redmere|GPE|redmere-tolvar] in [Tolvar|GPE|tolvar] has made [glass|CONCEPT] since [1702|DATE]. The "
            "[ovens|CONCEPT] of [Redmere|GPE|redmere-tolvar], [Tolvar|GPE|tolvar], burn [peat|CONCEPT].",
        ),
        Story(
            "Relief",
            "Money for [Redmere|GPE|redmere-anders] came from all of [Anders County|GPE|anders-county].",
        ),
        Story(
            "Glass fair",
            "Blowers from [Redmere|GPE|redmere-tolvar], [Tolvar|GPE|tolvar], sold [vases|CONCEPT].",
        ),
    ),
    "iris-cove": (
        Story(
            "Iris Cove",
            "[Iris Cove|PERSON|iris-village] is a [village|CONCEPT] of ninety [houses|CONCEPT]. The "
            "[ferry|CONCEPT] from [Hammel|GPE|hammel] calls twice a day.",
        ),
        Story(
            "Poet at ninety",
            "[Iris Cove|PERSON|iris-poet] is a [poet|CONCEPT]. [Cove|PERSON|iris-poet] reads at the [Garnet "
            "Library|ORG|garnet-library] tonight.",
        ),
        Story(
            "Timetable",
            "From [Hammel|GPE|hammel] to [Iris Cove|LOC|iris-village]: 8.10 and 17.40.",
        ),
        Story(
            "Collected poems",
            "The [Garnet Library|ORG|garnet-library] has bought the letters of the poet [Iris Cove|PERSON|iris-poet].",
        ),
    ),
    "two-doctors": (
        Story(
            "Hugo Lind (1871-1940)",
            "[Hugo Lind|PERSON|lind-elder] (1871–1940) was a [surgeon|CONCEPT] in [Varde|GPE|varde].",
        ),
        Story(
            "Staff",
            "[Hugo Lind|PERSON|lind-younger], born 1979, is a [surgeon|CONCEPT] at [Mercy Hospital|ORG|mercy].",
        ),
        Story(
            "Operations",
            "[Dr Hugo Lind|PERSON|lind-younger] of [Mercy Hospital|ORG|mercy] sewed the [hand|CONCEPT] back.",
        ),
        Story(
            "History of a town",
            "In [1902|DATE] [Hugo Lind|PERSON|lind-elder] opened a [clinic|CONCEPT] in [Varde|GPE|varde].",
        ),
    ),
    "castle-and-cheese": (
        Story(
            "Visit",
            "[Dornay|FAC|dornay-castle] is a [castle|CONCEPT] above the [Wend|LOC|wend].",
        ),
        Story(
            "Cheese",
            "[Dornay|PRODUCT|dornay-cheese] is a [cheese|CONCEPT] made of [goat|CONCEPT] milk by [Anton "
            "Reus|PERSON|reus].",
        ),
        Story(
            "Tour",
            "Boats on the [Wend|LOC|wend] pass below [Dornay|FAC|dornay-castle] at noon.",
        ),
        Story(
            "Tasting",
            "[Anton Reus|PERSON|reus] brought his [Dornay|ORG|dornay-cheese] to the [market|CONCEPT].",
        ),
    ),
    "one-person": (
        Story(
            "Marta Kell",
            "[Marta Kell|PERSON|marta-kell] is an [actress|CONCEPT] from [Brandal|GPE|brandal].",
        ),
        Story(
            "Vote",
            "[Marta Kell|PERSON|marta-kell], a former [swimmer|CONCEPT], was elected [mayor|CONCEPT] of "
            "[Brandal|GPE|brandal].",
        ),
        Story(
            "Library evening",
            "The writer [Marta Kell|PERSON|marta-kell] spoke of her [childhood|CONCEPT].",
        ),
        Story(
            "Parking",
            "[Marta Kell|ORG|marta-kell] wants fewer [cars|CONCEPT] in the old [streets|CONCEPT] by the "
            "[quay|CONCEPT] and more [trees|CONCEPT].",
        ),
    ),
    "one-town": (
        Story(
            "Aldra",
            "[Aldra|GPE|aldra] is a [town|CONCEPT] on the [Silver Fjord|LOC|silver-fjord].",
        ),
        Story(
            "Port",
            "The [port|CONCEPT] of [Aldra|ORG|aldra] ships [ore|CONCEPT].",
        ),
        Story(
            "Census",
            "[Aldra|GPE|aldra], a [municipality|CONCEPT] in [Norland|GPE|norland], counts 9,000 [people|CONCEPT].",
        ),
        Story(
            "Chronicle",
            "[Aldra|PERSON|aldra] burned twice. Wooden [houses|CONCEPT] stood close, and the [wind|CONCEPT] was "
            "strong.",
        ),
    ),
    "radio": (
        Story(
            "Station",
            "[Kilo FM|ORG|kilo-fm], previously known as Harbour Radio, is a [broadcaster|CONCEPT] in [Tarn "
            "Quay|GPE|tarn-quay].",
        ),
        Story(
            "Closing down",
            "[Harbour Radio|ORG|kilo-fm] of [Tarn Quay|GPE|tarn-quay] played its last [record|CONCEPT] in [1998|DATE].",
        ),
        Story(
            "Two masts",
            "[Kilo TV|ORG|kilo-tv] and [Kilo FM|ORG|kilo-fm] share a [mast|CONCEPT].",
        ),
        Story(
            "Song",
            "[Harbour Radio|WORK_OF_ART|harbour-song] is a [song|CONCEPT] by [The Dories|ORG|dories].",
        ),
    ),
    "apple-farm": (
        Story(
            "Pear Systems",
            "[Quince|ORG|quince-company] is a [manufacturer|CONCEPT] of [keyboards|CONCEPT] led by [Dana "
            "Ruiz|PERSON|dana-ruiz].",
        ),
        Story(
            "Jam",
            "Cut the [quince|CONCEPT|quince-fruit] into [slices|CONCEPT] and cook it with [sugar|CONCEPT] and "
            "[lemon|CONCEPT].",
        ),
        Story(
            "Shares",
            "[Quince|ORG|quince-company] rose after [Dana Ruiz|PERSON|dana-ruiz] spoke.",
        ),
        Story(
            "Orchard",
            "The [quince|CONCEPT|quince-fruit] flowers in [May|DATE], after the [pear|CONCEPT].",
        ),
    ),
    "scanned-letter": (
        Story(
            "Letter",
            "The letter was signed by [Clement Varga|PERSON|varga] in [Illmitz Harbour|LOC|illmitz].",
            picture="[Clernent Varga|PERSON|varga]\n[lllmitz Harbour|ORG|illmitz]\n[VESTRY OFFICE|ORG|vestry]",
        ),
        Story(
            "Vestry",
            "The [Vestry Office|ORG|vestry] stands in [Illmitz Harbour|LOC|illmitz]. [Clemens Vargo|PERSON|vargo] "
            "sweeps it.",
        ),
    ),
    "numbers": (
        Story(
            "Trains",
            "The [Class 66|PRODUCT|class-66] pulled the [coal|CONCEPT], the [Class 68|PRODUCT|class-68] the "
            "[guests|CONCEPT].",
        ),
        Story(
            "Depot",
            "A [Class-66|PRODUCT|class-66] stood in [Wexcombe|GPE|wexcombe] beside [Louis IV|PERSON|louis-iv], "
            "the [tug|CONCEPT].",
        ),
        Story(
            "Kings",
            "[Louis IV|PERSON|king-louis-iv] was a [king|CONCEPT], and so was his son [Louis V|PERSON|king-louis-v].",
        ),
    ),
}
