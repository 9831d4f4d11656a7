"""How models begin a sentence that says nothing of the picture: thinking aloud, refusing, talking to the reader.

Layer: ``kg``; the standard library only. Each pattern is matched at the beginning of a sentence, without its quotation
marks and with straight apostrophes.
"""

from __future__ import annotations

import re

__all__ = ["CHATTER", "REASONING", "REFUSAL"]

REASONING = re.compile(
    r"(?:okay|ok|alright|all right|hmm+|right|so|well|now|wait|actually),?\s+(?:so\s+)?"
    r"(?:the user|let me|let's|i |i'|we need|first|looking|maybe|the (?:task|question|prompt))"
    r"|(?:let me|let's) (?:think|look|see|analy|examine|start|check|describe|break|re-?read|consider|go|figure)"
    r"|(?:hmm+|wait|okay|ok|alright)\s*(?:[,.!…]|$)"
    r"|(?:the user|user) (?:wants|asks|asked|is asking|has|provided|gave|said|needs)"
    r"|(?:i|we) (?:need|should|must|have|want|will|am going|'ll|think|guess|wonder|notice that i)(?: to)? "
    r"(?:describe|think|write|make|avoid|provide|start|look|check|be|note|mention|include|keep|answer|focus|stick|ensure|"
    r"consider|analy[sz]e|determine|identify|figure|create|produce|respond|output|summari[sz]e)\b"
    r"|got it\b|let's (?:write|craft|draft|refine|put|see)"
    r"|(?:first|next|then|finally), (?:i|we|let me|let's)\b|my (?:task|instructions|response|answer|job)\b"
    r"|(?:the|this) (?:task|prompt|instruction|instructions|question|user) (?:is|are|says?|asks?|wants?|requires?)\b"
    r"|(?:zuerst|also|okay),? (?:muss|soll|sollte|werde) ich\b|der (?:nutzer|benutzer|anwender) (?:möchte|will|fragt)"
    r"|l'utilisateur (?:veut|demande|souhaite)|el usuario (?:quiere|pide|desea)"
    r"|(?:好的|嗯)?[，,]?\s*(?:用户(?:想|要|希望|让)|让我(?:想|看|来)|我(?:需要|应该)(?:先|描述))"
    r"|ユーザーは|まず、?私は",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"(?:unfortunately,? |regrettably,? |but )?(?:i'm|i am|we are|we're) (?:so |very |really |terribly )?"
    r"(?:sorry|afraid|unable|not able|not allowed|not permitted|just an|only an|an ai)\b"
    r"|(?:sorry|apologies|my apologies|i apologi[sz]e)[,.!]?(?: but)?(?: i| we|$|,|\.| for| that)"
    r"|(?:unfortunately,? |however,? |but )?(?:i|we) (?:can't|cannot|can not|won't|will not|couldn't|could not|"
    r"do not have|don't have|don't see|do not see|must decline|have to decline|decline)\b"
    r"|as an? (?:ai|artificial intelligence|language model|large language model|text-based|llm)\b"
    r"|(?:no|there is no) (?:image|picture) (?:was|has been|is|were)?\s*(?:provided|attached|given|included|visible)"
    r"|(?:please|could you) (?:provide|upload|attach|share) (?:the|an|a|your)?\s*(?:image|picture|photo|file)"
    r"|unfortunately,? the (?:image|picture|photo)"
    r"|it (?:seems|looks like|appears) (?:that )?(?:you|no image|there is no|"
    r"the (?:image|picture) (?:is missing|did|was not|wasn't|is not|isn't))"
    r"|es tut mir leid|tut mir leid|leider kann ich|ich kann (?:das|dieses|diese|ihnen|dir|leider|hier)\b.*nicht"
    r"|entschuldigung|als (?:ki|sprachmodell)\b"
    r"|(?:je suis |)désolé|je ne (?:peux|suis) pas|je suis (?:incapable|une ia)|en tant qu'(?:ia|intelligence)"
    r"|lo siento|no puedo|lamentablemente,? no|como (?:una? )?(?:ia|inteligencia|modelo de lenguaje)"
    r"|(?:很|非常)?抱歉|对不起|我(?:无法|不能|没有办法)|作为(?:一个|一名)?(?:人工智能|ai|语言模型)"
    r"|申し訳|すみません|(?:私は)?(?:ai|人工知能)として|画像を(?:見る|確認する)ことができ",
    re.IGNORECASE,
)
CHATTER = re.compile(
    r"(?:sure|certainly|absolutely|of course|great|okay|ok|yes|no problem|gladly)\s*[!.,](?:\s*here\b.*|\s*$)"
    r"|(?:here is|here's|here are|below is|this is|the following is) (?:the|a|an|your|my) (?:\w+ ){0,4}"
    r"(?:description|caption|summary|answer|breakdown|analysis|transcription)\b[^.]{0,60}[:.]?\s*$"
    r"|(?:let me know|feel free|please let me know|i hope|hope this|if you (?:have|need|would|want|'d)|"
    r"is there anything|would you like|do you want|please note that (?:i|as))\b"
    r"|(?:gerne|natürlich|selbstverständlich)[!,.]?\s*(?:hier\b.*)?$|hier ist (?:die|eine)\b[^.]*:\s*$"
    r"|(?:bien sûr|voici)\b[^.]*[:!]\s*$|(?:claro|por supuesto|aquí (?:está|tienes))\b[^.]*[:!]\s*$"
    r"|(?:当然|好的)[，,！!。：:]?$|以下是.{0,20}[：:]$",
    re.IGNORECASE,
)
