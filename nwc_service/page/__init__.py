"""The page: what an operator does in a browser, made on the server and asked of the admin API.

Nothing here reads the database or decides who may do what: each view is a request to the API in
the name of who is signed in, so that the page can do no more than that token.
"""
