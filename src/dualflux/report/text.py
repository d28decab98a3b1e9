"""Words of the report that follow from the settings and the contents."""

from collections.abc import Mapping
from typing import Any

from dualflux.report.contents import Contents
from dualflux.variants import shown_variant

_TARGETS = {
    "tower_nee": "net biosphere exchange without fire and without emissions where exported carbon is respired: what towers see",
    "stock_change": "net biosphere exchange corrected for all lateral transport: the change of carbon stocks",
    "nbe": "net biosphere exchange as the inversions give it, fire included",
}
_VARIANTS = {
    "towers": "<towers> is trained on towers alone",
    "inversions": "<inversions> on the inversions alone",
    "plain": "<plain> on both, the landscape flux f standing for the tower flux as well",
    "dual": "<dual> on both, with what the study's tower term puts between a tower and its landscape",
}


def methods(study: Mapping[str, Any]) -> list[str]:
    """Paragraphs that say what was done, from the resolved settings; what the settings lack is not mentioned."""
    parts = [_data(study), _target(study), _model(study), _terms(study), _variants(study)]
    return [p for p in parts if p]


def _data(study: Mapping[str, Any]) -> str:
    period, grid, predictors = study.get("period"), study.get("grid") or {}, study.get("predictors") or []
    done = "of the products was compared" if study.get("products") else "was estimated"
    text = f"Net ecosystem exchange (NEE, positive to the atmosphere) {done}"
    if period:
        text += f" for {period[0]} to {period[1]}"
    if "resolution" in grid:
        text += f" on a grid of {grid['resolution']:g} degree{'s' if grid['resolution'] != 1 else ''}"
    text += f" at {study['time_step']} time steps." if "time_step" in study else "."
    if study.get("fit_period"):
        text += f" Towers and inversions constrain {study['fit_period'][0]} to {study['fit_period'][1]} only; other years are predicted."
    names = [
        str(p.get("name"))
        + (f" (with running means over {_list([str(d) for d in p['running_means']])} days)" if p.get("running_means") else "")
        for p in predictors
    ]
    return text + (f" Predictors: {_list(names)}." if names else "")


def _target(study: Mapping[str, Any]) -> str:
    kind = study.get("target")
    if kind is None:
        return ""
    text = f"The inversions were compared with `{kind}`: {_TARGETS.get(str(kind), 'as set in the study file')}."
    names = [str(a.get("name")) for a in study.get("adjustments") or []]
    if kind == "nbe":
        return text
    text += f" Subtracted: {_list(names)}." if names else " Nothing was subtracted from the inversions."
    if kind == "tower_nee" and not {"crop_consumption", "wood_consumption", "river_evasion"} & set(names):
        text += (
            " Lateral terms (consumption of crops and wood, evasion from rivers and lakes) are missing, so the target still contains them."
        )
    return text


def _model(study: Mapping[str, Any]) -> str:
    network = study.get("network") or {}
    if not network:
        return ""
    text = "The flux model is a feed-forward network"
    if network.get("hidden"):
        text += f" with hidden layers of {_list([str(h) for h in network['hidden']])}"
    if network.get("activation"):
        text += f" ({network['activation']})"
    if network.get("members") and network.get("folds"):
        members, folds = network["members"], network["folds"]
        text += f"; {members} members for each of {folds} folds of groups of co-located sites make an ensemble of {members * folds}"
    return text + ". Every site was scored by members that had not seen its group."


def _terms(study: Mapping[str, Any]) -> str:
    tower, inversion = study.get("tower_term") or {}, study.get("inversion_term") or {}
    if not tower and not inversion:
        return ""
    terms = [word for key, word in (("representativeness", "representativeness g"), ("site_effects", "site effects b")) if tower.get(key)]
    text = f"A tower's flux is the landscape flux f plus {_list(terms)}, with a heavy-tailed error." if terms else ""
    if inversion.get("estimator"):
        text += f" Regional integrals entered through the `{inversion['estimator']}` estimator"
        text += f" with weight {inversion['weight']}." if "weight" in inversion else "."
        text += (
            " Any weight other than 1 is an inflation or deflation of the inversions' error covariance."
            if inversion.get("weight", 1) != 1
            else ""
        )
    return text.strip()


def _variants(study: Mapping[str, Any]) -> str:
    named = [_VARIANTS[v].replace("<", "“").replace(">", "”") for v in study.get("variants") or [] if v in _VARIANTS]
    return f"Variants: {'; '.join(named)}." if named else ""


def _list(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


_HATCHED = "Hatched: predictors unlike those of any tower (applicability above 1)."


def _main_words(contents: Contents) -> str:
    """What the main figure's panels are made from."""
    packaged = [r for r in contents.figure_regions if r not in contents.regions]
    text = "over the members for a variant, over the inversions for the target."
    if packaged:
        text += f" {_list(packaged)}: the gridded products over the packaged country mask; the inversions are not given for them."
    return text


def _flagged(contents: Contents) -> str:
    """What the marks mean, where there are any."""
    if contents.flags.empty:
        return ""
    return (
        f" Outlined in “{shown_variant(contents.variants)}”: boxes whose flux per area is beyond what a tower of their climate is likely "
        "to show (90 % prediction interval from its sites' means); triangle down, more uptake, up, more release. Diamonds: regions beyond "
        "every inversion. Values and limits are in the table of flags."
    )


def captions(contents: Contents) -> dict[str, str]:
    """What each figure shows and what to look for."""
    count = len(contents.inversions)
    thin = f"Thin grey lines are the {count} single inversions. " if count else ""
    spread = "Bands are one standard deviation: over the members for a variant, over the inversions for the target. "
    found = {
        "seasonal_cycle": f"Mean seasonal cycle over complete years, PgC per month, positive to the atmosphere. {spread}{thin}"
        "Look whether a variant keeps inside the target's band: its level is the mean flux, its swing the growing season.",
        "main_cycles": f"Mean seasonal cycle over complete years, each line with one standard deviation: {_main_words(contents)} Look at "
        "level (the mean flux), depth (the growing season) and timing.",
        "tower_map": "Sites of the tower network, coloured by the skill of the prediction made without them. Green: better than the "
        "site's own mean; purple: worse; values below −1 have the colour of −1.",
        "observed_predicted": "All left-out tower values against their prediction (f + g); darker: more values. Points on the line are "
        "right; a cloud flatter than the line means that extremes are predicted too weak.",
        "skill_by_class": "Pooled skill over the sites of each class with 95 % intervals (groups of co-located sites drawn again). An "
        "arrow at the left edge: below −0.5. Classes with few groups say little: their intervals are wide or missing.",
        "taylor": "Angle: correlation; distance from the origin: standard deviation over that of the reference (star); dashed arcs: "
        "centred RMSE of 0.25, 0.5, 0.75 and 1. Nearest to the star is best. Regions: large symbols are the globe, small ones the parts, "
        "against the target.",
        "reliability": "How often the members' central intervals hold the truth of this synthetic world, fitted years, part by part. On "
        "the line: honest; below: too narrow; above: too wide. Values hang together: a departure counts by the number of cases that they "
        "are worth (median over variants).",
        "prior_predictive": "Draws of all priors, turned into numbers that data have too: dot, median; bar, central 90 % of the draws. "
        "Weights of the network have the prior sd that training used; sds of u, a and g's slopes are estimated. Look whether bars lie "
        "around the data: one that is far wider leaves all to the data, one beside them speaks before the data do. Axes are logarithmic "
        "beyond the data's size where bars are more than ten times wider. No data know the sd of the map.",
        "trade_off": "What fitting the inversions costs at towers. Misfit: squared residuals over their variance R, mean over regions and "
        "over offset, "
        "seasonal cycle and anomaly; near 1 a variant is as far from each product as the products are from "
        "each other.",
        "r_maps": f"Correlation over the time steps that a product and {contents.against} share: green, they rise and fall together.",
        "rmse_maps": f"Root mean square of product minus {contents.against} over their common time steps.",
        "seasonal_cycles": f"The same for all regions, each with its own scale. {spread}",
        "annual_anomalies": f"Annual sums of complete years minus each product's own mean. {thin}"
        "Look whether variants rise and fall with the target: what no predictor carries from year to year cannot appear here.",
        "left_out_years": "Each year as predicted by a fit that has never seen it: its towers, inversions and mean seasons were taken out "
        "and everything was made again. Bars: one standard deviation of observed less predicted. Look whether the points follow the black "
        "line, and whether two of three bars reach it. What lies on zero knows no more than the mean of the other years. Right above: "
        "correlation, and rmse over that of the mean year, of the last variant.",
        "regional_means": "Mean annual flux of complete years. Error bars are one standard deviation: over the members for a "
        "variant, over the inversions for the target; circles are the single inversions. Bars below zero are sinks.",
        "mean_maps": "Mean net ecosystem exchange of each variant on one colour scale, in an equal-area projection: green is "
        "uptake, brown release. The coastline is the outline of the run's own land mask; "
        f"cells with less than a quarter of land count but are not drawn. {_HATCHED}{_flagged(contents)}",
        "spread_maps": "Standard deviation of a month's value in a cell: the members and the part that no predictor sees, "
        "mean over all months.",
        "representativeness_maps": "What the tower network would see beyond the landscape's flux (g), shown only where predictors are "
        "like those of towers: orange, towers see more release; purple, more uptake. It is what prior and regions say, not a measurement.",
        "difference_maps": "Where the sources move the flux: purple is more uptake than in the other variant, orange less.",
        "skill_by_scale": "Nash-Sutcliffe efficiency at left-out towers by time scale; 1 is perfect, 0 as good as the observed "
        "mean. Filled: f + g, what a tower sees; open: f, the flux of the landscape. A caret on the lower edge stands for a "
        "value below it.",
        "site_scatter": "Each point is one site; above the line the variant on the vertical axis is better. f + g, scored by "
        "members that had not seen the site.",
        "training_history": "What each checkpoint recorded over the training steps, mean over members: the fit at towers that a member "
        "held out to know when to stop, the misfit to the inversions, the size of site effects. Dots: checkpoints that were kept "
        "(one for each fold).",
    }
    return found if contents.variants else found | _OF_PRODUCTS


_OF_PRODUCTS = {
    "tower_map": "Sites, coloured by the skill of the product there. Green: better than the site's own mean; purple: worse; values below "
    "−1 have the colour of −1. Products may have been trained on these towers.",
    "skill_by_scale": "Nash-Sutcliffe efficiency at towers by time scale; 1 is perfect, 0 as good as the observed mean. A caret on the "
    "lower edge stands for a value below it. Products may have been trained on these towers.",
    "site_scatter": "Each point is one site; above the line the product on the vertical axis is better.",
    "mean_maps": "Mean net ecosystem exchange of each product on one colour scale, in an equal-area projection: green is uptake, brown "
    "release. Cells with less than a quarter of land count but are not drawn.",
    "regional_means": "Mean annual flux of complete years. The error bar is one standard deviation over the inversions; circles are the "
    "single inversions. Bars below zero are sinks.",
    "main_cycles": "Mean seasonal cycle over complete years; the band is one standard deviation over the inversions.",
}
