"""The contrast by kinship as loops over pairs, written from its formula."""

import torch


def kinship_loss(text_MD, kinship_MM, temperature):
    losses = []
    for i in range(len(text_MD)):
        others = [j for j in range(len(text_MD)) if j != i]
        weight = {j: torch.exp(kinship_MM[i, j] / temperature) for j in others}
        total = sum(weight.values()) if others else torch.tensor(0.0)
        if float(total) == 0:
            continue
        logit = {j: sum(text_MD[i, d] * text_MD[j, d] for d in range(text_MD.shape[1])) / temperature for j in others}
        log_sum = torch.log(sum(torch.exp(value) for value in logit.values()))
        losses.append(-sum(weight[j] / total * (logit[j] - log_sum) for j in others))
    return sum(losses) / len(losses) if losses else (text_MD * 0).sum()
