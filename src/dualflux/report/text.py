"""Words of the report that follow from the settings and the contents."""

from typing import Any

from dualflux.report.contents import Contents

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


def methods(study: dict[str, Any]) -> list[str]:
    """Paragraphs that say what was done, from the resolved settings; what the settings lack is not mentioned."""
    parts = [_data(study), _target(study), _model(study), _terms(study), _variants(study)]
    return [p for p in parts if p]


def _data(study: dict[str, Any]) -> str:
    period, grid, predictors = study.get("period"), study.get("grid") or {}, study.get("predictors") or []
    text = "Net ecosystem exchange (NEE, positive to the atmosphere) was estimated"
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


def _target(study: dict[str, Any]) -> str:
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


def _model(study: dict[str, Any]) -> str:
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


def _terms(study: dict[str, Any]) -> str:
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


def _variants(study: dict[str, Any]) -> str:
    named = [_VARIANTS[v].replace("<", "“").replace(">", "”") for v in study.get("variants") or [] if v in _VARIANTS]
    return f"Variants: {'; '.join(named)}." if named else ""


def _list(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


def captions(contents: Contents) -> dict[str, str]:
    """What each figure shows and what to look for."""
    count = len(contents.inversions)
    thin = f"Thin grey lines are the {count} single inversions. " if count else ""
    spread = "Bands are one standard deviation: over the members for a variant, over the inversions for the target. "
    return {
        "seasonal_cycle": f"Mean seasonal cycle over complete years, PgC per month, positive to the atmosphere. {spread}{thin}"
        "Look whether a variant keeps inside the target's band: its level is the mean flux, its swing the growing season.",
        "seasonal_cycles": f"The same for all regions, each with its own scale. {spread}",
        "annual_anomalies": f"Annual sums of complete years minus each product's own mean. {thin}"
        "Look whether variants rise and fall with the target: what no predictor carries from year to year cannot appear here.",
        "regional_means": "Mean annual flux of complete years. Error bars are one standard deviation: over the members for a "
        "variant, over the inversions for the target; circles are the single inversions. Bars below zero are sinks.",
        "mean_maps": "Mean net ecosystem exchange of each variant on one colour scale, in an equal-area projection: green is "
        "uptake, brown release. The coastline is the outline of the run's own land mask; "
        "cells with less than a quarter of land count but are not drawn.",
        "spread_maps": "Standard deviation of a month's value in a cell: the members and the part that no predictor sees, "
        "mean over all months.",
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
