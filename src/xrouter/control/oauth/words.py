"""What the pages say, in English and Russian."""

from __future__ import annotations

ENGLISH, RUSSIAN = "en", "ru"

WORDS: dict[str, dict[str, str]] = {
    ENGLISH: {
        "sign_in": "Sign in",
        "by": "Sign in with {}",
        "email": "E-mail",
        "password": "Password",
        "wrong": "The e-mail or the password is wrong.",
        "wait": "There were too many attempts. Wait a little.",
        "expired": "The page was open for too long. Try again.",
        "consent": "{} asks for access",
        "consent_key": "{} asks for an API key",
        "may": "It will be able to:",
        "may_key": "It gets a key of its own that does not expire. You can revoke it at any time.",
        "unknown": "Nobody has registered this application: go on only if you began this yourself.",
        "project": "Project",
        "as": "You are signed in as {}.",
        "sent_to": "The answer goes to {}.",
        "shown": "The code will be shown here; copy it into the application.",
        "allow": "Allow",
        "deny": "Deny",
        "failed": "This cannot be done",
        "no_project": "You have no project in which you may make keys.",
        "code": "Your code",
        "copy": "Copy it into the application. It works once, for ten minutes.",
        "denied": "Access was denied.",
        "client": "The application is not known here.",
        "redirect": "The application asks to be answered at an address that is not registered.",
        "request": "The application's request is wrong: {}.",
        "away": "The server cannot do this at the moment. Try again later.",
        "chat": "have models answer, at the cost of the project",
        "embeddings": "make embeddings",
        "images": "make images",
        "audio": "turn speech into text and text into speech",
        "moderations": "have texts checked",
        "models": "see which models there are",
        "account": "see what was used and what is left",
    },
    RUSSIAN: {
        "sign_in": "Вход",
        "by": "Войти через {}",
        "email": "Эл. почта",
        "password": "Пароль",
        "wrong": "Неверная почта или пароль.",
        "wait": "Слишком много попыток. Подождите немного.",
        "expired": "Страница была открыта слишком долго. Попробуйте ещё раз.",
        "consent": "{} просит доступ",
        "consent_key": "{} просит ключ API",
        "may": "Приложение сможет:",
        "may_key": "Приложение получит свой бессрочный ключ. Отозвать его можно в любой момент.",
        "unknown": "Это приложение не зарегистрировано: продолжайте, только если начали сами.",
        "project": "Проект",
        "as": "Вы вошли как {}.",
        "sent_to": "Ответ уйдёт на {}.",
        "shown": "Код появится здесь; скопируйте его в приложение.",
        "allow": "Разрешить",
        "deny": "Отказать",
        "failed": "Это невозможно",
        "no_project": "У вас нет проекта, в котором вы можете создавать ключи.",
        "code": "Ваш код",
        "copy": "Скопируйте его в приложение. Он сработает один раз, в течение десяти минут.",
        "denied": "Вы отказали в доступе.",
        "client": "Это приложение здесь не зарегистрировано.",
        "redirect": "Приложение просит ответить на незарегистрированный адрес.",
        "request": "Ошибка в запросе приложения: {}.",
        "away": "Сейчас сервер не может этого сделать. Попробуйте позже.",
        "chat": "получать ответы моделей за счёт проекта",
        "embeddings": "получать эмбеддинги",
        "images": "создавать изображения",
        "audio": "распознавать и озвучивать речь",
        "moderations": "проверять тексты",
        "models": "видеть список моделей",
        "account": "видеть расход и остаток",
    },
}


def language(accepted: str) -> str:
    """Of a header Accept-Language: the first of ours that it names."""
    for part in accepted.split(","):
        name = part.partition(";")[0].strip().lower()[:2]
        if name in WORDS:
            return name
    return ENGLISH
