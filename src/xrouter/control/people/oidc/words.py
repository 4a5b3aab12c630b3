"""What goes wrong when people come in by a provider, and what they are told."""

from __future__ import annotations


class SignInProblem(Exception):
    """It goes no further. reason: a key of WORDS. detail: for the log, without secrets."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    @property
    def status(self) -> int:
        """Of the page."""
        return _STATUS.get(self.reason, 403)


_STATUS = {"unheard": 404, "expired": 400, "failed": 502, "away": 503, "database": 503, "wait": 429}

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Signing in did not work",
        "again": "Back to signing in",
        "done": "Signed in",
        "done.about": "You can close this page.",
        "linked": "Linked",
        "linked.about": "From now on you can sign in by this provider, too.",
        "unheard": "There is no such sign-in provider.",
        "expired": "This attempt was begun elsewhere, took too long, or is over. Begin again.",
        "denied": "The provider did not let you in, or you declined.",
        "failed": "The provider answered in a way that cannot be trusted. Nobody was signed in.",
        "away": "The provider does not answer. Try again later, or sign in with a password.",
        "database": "The server cannot do this at the moment. Try again later.",
        "wait": "There were too many attempts. Wait a little.",
        "unknown": "Nobody has invited you here yet. Ask an owner of your organisation for an "
        "invite.",
        "taken": "There is a user with your e-mail address already. Sign in with the password, "
        "then link this provider to your account.",
        "disabled": "This user is switched off. Ask the operator of this router.",
        "elsewhere": "This account of the provider belongs to another user here.",
        "session": "You are not signed in as the one who began this. Sign in, then try again.",
        "many": "You have linked as many accounts as one may.",
        "link": "This invite was used already, has ended, or never was. Ask for a new one.",
        "other": "This invite is for another e-mail address.",
        "member": "You are a member already. Sign in.",
    },
    "ru": {
        "title": "Войти не получилось",
        "again": "Назад ко входу",
        "done": "Вы вошли",
        "done.about": "Эту страницу можно закрыть.",
        "linked": "Привязано",
        "linked.about": "Теперь можно входить и этим способом.",
        "unheard": "Такого способа входа нет.",
        "expired": "Эта попытка начата в другом месте, длилась слишком долго или уже завершена. "
        "Начните сначала.",
        "denied": "Сервис входа отказал, или вы отказались сами.",
        "failed": "Ответу сервиса входа нельзя доверять. Никто не вошёл.",
        "away": "Сервис входа не отвечает. Попробуйте позже или войдите по паролю.",
        "database": "Сервер сейчас не может этого сделать. Попробуйте позже.",
        "wait": "Слишком много попыток. Немного подождите.",
        "unknown": "Вас сюда ещё не пригласили. Попросите приглашение у владельца организации.",
        "taken": "Пользователь с вашей почтой уже есть. Войдите по паролю, затем привяжите этот "
        "способ входа к своей учётной записи.",
        "disabled": "Этот пользователь отключён. Обратитесь к оператору маршрутизатора.",
        "elsewhere": "Эта учётная запись сервиса принадлежит здесь другому пользователю.",
        "session": "Вы вошли не под тем именем, под которым начинали. Войдите и повторите.",
        "many": "Привязано столько учётных записей, сколько можно.",
        "link": "Это приглашение уже использовано, истекло или не существовало. Попросите новое.",
        "other": "Это приглашение для другого адреса почты.",
        "member": "Вы уже участник. Просто войдите.",
    },
}
